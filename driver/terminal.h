#pragma once

#include <termios.h>

#include <array>
#include <optional>

namespace driver {

// Remembers how the terminal on standard input is set, and puts it back at the end: QEMU makes it
// raw for a serial console and cannot tidy up when it is killed. Also puts back the non-blocking
// flag of the standard descriptors, which the shell behind us shares.
class Terminal {
 public:
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

 private:
  std::optional<termios> settings_;  // empty: not a terminal
  std::array<int, 3> flags_{};
};

}  // namespace driver
