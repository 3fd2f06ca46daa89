#include "netstack/base/log_throttle.h"

#include <fmt/format.h>

#include "netstack/base/counted.h"

namespace netstack {

LogThrottle::~LogThrottle() {
  if (hidden_count_ == 0) return;
  if (shared_ != nullptr && !shared_->admit()) {
    shared_->hidden_count_ += hidden_count_;
    return;
  }
  log_.line(fmt::format("{} about {} {} not shown", counted(hidden_count_, "more line"), subject_,
                        hidden_count_ == 1 ? "was" : "were"));
}

// Whether one more may be shown.
bool LogThrottle::admit() {
  const uint64_t now_ns = clock_.monotonic_ns();
  if (now_ns - window_start_ns_ >= kThrottleWindow_ns) {
    window_start_ns_ = now_ns;
    shown_count_ = 0;
  }
  if (shown_count_ == line_count_max_ || (shared_ != nullptr && !shared_->admit())) return false;
  ++shown_count_;
  return true;
}

void LogThrottle::line(std::string_view text) {
  if (!admit()) {
    ++hidden_count_;
    return;
  }
  if (hidden_count_ == 0) {
    log_.line(text);
  } else {
    log_.line(fmt::format("{} ({} before this one {} not shown)", text,
                          counted(hidden_count_, "line"), hidden_count_ == 1 ? "was" : "were"));
    hidden_count_ = 0;
  }
}

}  // namespace netstack
