#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace netstack {

// Lines for the user. A log never makes the packet path wait.
class Log {
 public:
  virtual ~Log() = default;
  virtual void line(std::string_view text) = 0;  // without program name, without newline
};

// Writes "NAME: text\n" to a descriptor it does not own, one write per line. When the reader of a
// pipe is not reading, lines are dropped and the next line that fits says how many.
class FdLog final : public Log {
 public:
  FdLog(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  void line(std::string_view text) override;

 private:
  bool writable() const;

  int fd_;
  std::string name_;
  uint64_t lost_count_ = 0;
};

}  // namespace netstack
