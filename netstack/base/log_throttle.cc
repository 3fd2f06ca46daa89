#include "netstack/base/log_throttle.h"

#include <fmt/format.h>

namespace netstack {

LogThrottle::~LogThrottle() {
  if (hidden_count_ == 0) return;
  const bool one = hidden_count_ == 1;
  log_.line(fmt::format("{} more line{} about {} {} not shown", hidden_count_, one ? "" : "s",
                        subject_, one ? "was" : "were"));
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
    log_.line(fmt::format("{} ({} lines before this one were not shown)", text, hidden_count_));
    hidden_count_ = 0;
  }
}

}  // namespace netstack
