#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

// What libFuzzer and replay_main.cc call.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace tests {

// An input, read from the front. Past its end everything is zero or empty, so that every prefix of
// an input is an input.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }
  uint8_t u8() {
    const std::span<const uint8_t> one = bytes(1);
    return one.empty() ? uint8_t{0} : one[0];
  }
  uint16_t u16() {
    const unsigned high = u8();
    return static_cast<uint16_t>(high << 8U | u8());
  }
  std::span<const uint8_t> bytes(size_t size) {  // or as many as there are
    const std::span<const uint8_t> taken = rest_.first(std::min(size, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  std::span<const uint8_t> rest() { return bytes(rest_.size()); }

 private:
  std::span<const uint8_t> rest_;
};

// To find leaks: few enough are open at a time that looking at the lowest numbers is enough.
inline int low_descriptor_count() {
  constexpr int kLooked_count = 256;
  int count = 0;
  for (int fd = 0; fd < kLooked_count; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

}  // namespace tests
