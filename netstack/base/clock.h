#pragma once

#include <cstdint>
#include <ctime>

namespace netstack {

// Where time comes from. Everything that waits or stamps takes a Clock, so a test can hold it
// still.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t monotonic_ns() = 0;  // never steps back; for deadlines and ages
  virtual uint64_t wall_ns() = 0;       // since 1970-01-01 UTC; for capture time stamps
};

class SystemClock final : public Clock {
 public:
  uint64_t monotonic_ns() override { return read(CLOCK_MONOTONIC); }
  uint64_t wall_ns() override { return read(CLOCK_REALTIME); }

 private:
  static uint64_t read(clockid_t id) {
    timespec ts{};
    ::clock_gettime(id, &ts);
    return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(ts.tv_nsec);
  }
};

// Stands still until told to move.
class ManualClock final : public Clock {
 public:
  uint64_t monotonic_ns() override { return now_ns_; }
  uint64_t wall_ns() override { return kEpoch_ns + now_ns_; }
  void advance_ns(uint64_t by) { now_ns_ += by; }

 private:
  static constexpr uint64_t kEpoch_ns = 1'700'000'000'000'000'000U;
  uint64_t now_ns_ = 1'000'000'000;
};

constexpr uint64_t kSecond_ns = 1'000'000'000;
constexpr uint64_t kMillisecond_ns = 1'000'000;

}  // namespace netstack
