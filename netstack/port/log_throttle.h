#pragma once

#include <cstdint>
#include <string_view>

#include "netstack/base/clock.h"
#include "netstack/base/log.h"

namespace netstack {

constexpr uint32_t kThrottleLines_count = 5;  // lines per window
constexpr uint64_t kThrottleWindow_ns = 10 * kSecond_ns;

// Lines about what clients do wrong. A client in a loop must not fill the user's disk: after
// kThrottleLines_count lines the rest of the window is silent, and the next line that is shown
// says how many were not.
class LogThrottle {
 public:
  LogThrottle(Log& log, Clock& clock) : log_(log), clock_(clock) {}
  void line(std::string_view text);

 private:
  Log& log_;
  Clock& clock_;
  uint64_t window_start_ns_ = 0;
  uint32_t shown_count_ = 0;
  uint64_t hidden_count_ = 0;
};

}  // namespace netstack
