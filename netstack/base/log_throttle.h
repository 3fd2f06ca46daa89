#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "netstack/base/clock.h"
#include "netstack/base/log.h"

namespace netstack {

constexpr uint32_t kThrottleLines_count = 5;  // lines per window
constexpr uint64_t kThrottleWindow_ns = 10 * kSecond_ns;

// Lines that peers and guests can cause at will. One in a loop must not fill the user's disk: after
// `line_count_max` lines the rest of the window is silent, and the next line that is shown, or else
// the last of all when this ends, says how many were not: then it names the `subject` of its lines.
//
// Where each of many peers has a throttle of its own, so that none hides what is said of another,
// one they share bounds them all. It goes last.
class LogThrottle {
 public:
  LogThrottle(Log& log, Clock& clock, std::string subject,
              uint32_t line_count_max = kThrottleLines_count)
      : log_(log), clock_(clock), subject_(std::move(subject)), line_count_max_(line_count_max) {}
  LogThrottle(LogThrottle& shared, std::string subject)
      : log_(shared.log_),
        clock_(shared.clock_),
        subject_(std::move(subject)),
        line_count_max_(kThrottleLines_count),
        shared_(&shared) {}
  ~LogThrottle();
  LogThrottle(const LogThrottle&) = delete;
  LogThrottle& operator=(const LogThrottle&) = delete;
  void line(std::string_view text);

 private:
  bool admit();

  Log& log_;
  Clock& clock_;
  std::string subject_;
  uint32_t line_count_max_;
  LogThrottle* shared_ = nullptr;
  uint64_t window_start_ns_ = 0;
  uint32_t shown_count_ = 0;
  uint64_t hidden_count_ = 0;
};

}  // namespace netstack
