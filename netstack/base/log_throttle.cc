#include "netstack/base/log_throttle.h"

#include <fmt/format.h>

#include "netstack/base/counted.h"

namespace netstack {

LogThrottle::~LogThrottle() {
  if (hidden_count_ == 0) return;
  log_.line(fmt::format("{} about {} {} not shown", counted(hidden_count_, "more line"), subject_,
                        hidden_count_ == 1 ? "was" : "were"));
}

void LogThrottle::line(std::string_view text) {
  const uint64_t now_ns = clock_.monotonic_ns();
  if (now_ns - window_start_ns_ >= kThrottleWindow_ns) {
    window_start_ns_ = now_ns;
    shown_count_ = 0;
  }
  if (shown_count_ == line_count_max_) {
    ++hidden_count_;
    return;
  }
  ++shown_count_;
  if (hidden_count_ == 0) {
    log_.line(text);
  } else {
    log_.line(fmt::format("{} ({} before this one {} not shown)", text,
                          counted(hidden_count_, "line"), hidden_count_ == 1 ? "was" : "were"));
    hidden_count_ = 0;
  }
}

}  // namespace netstack
