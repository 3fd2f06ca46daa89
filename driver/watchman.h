#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace driver {

constexpr const char* kMarkVariable = "LANYARD_GUEST";
constexpr uint64_t kWatchmanBound_ns = 5'000'000'000;  // then it gives up on what cannot be killed

// A small process that waits for this one to end, however that happens, and then SIGKILLs
// everything that carries our mark in its environment, and calls `afterwards` to clean up what else
// we could not. Needed only when we are SIGKILLed ourselves; it is ended with this object.
class Watchman {
 public:
  explicit Watchman(const std::function<void()>& afterwards = {});  // throws netstack::Error
  ~Watchman();
  Watchman(const Watchman&) = delete;
  Watchman& operator=(const Watchman&) = delete;

  pid_t pid() const { return pid_; }

  // Our environment with the mark in it, for the processes that shall not outlive us.
  std::vector<std::string> marked_environment() const;

 private:
  std::string mark_;
  pid_t pid_ = -1;
};

}  // namespace driver
