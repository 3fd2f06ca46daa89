#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "netstack/port/watched_fd.h"
#include "tools/vde_switch/session.h"

namespace tools {

// For a reader to take more of the replies: when a signal ends the switch, and when its input does.
constexpr int kLastWords_ms = 200;
constexpr int kLateReader_ms = 2000;

// The console on standard input and output. Replies go to standard output, the prompt to standard
// *input*: that is where VDE writes it, so on a terminal it is seen and on pipes it is not, and a
// program that reads our output meets replies only. There is no banner and no echo.
//
// The end of standard input ends the switch. `logout` does nothing here.
class Console {
 public:
  enum class End { kInputEnded, kShutdown };
  using OnEnd = std::function<void(End)>;

  Console(Interpreter& interpreter, SwitchState& state, OnEnd on_end);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

 private:
  void watch_input();
  void read_later();
  void on_input(uint32_t epoll_events);
  void outlive_writer();
  void wait_for_reader();
  void read_some();
  void end(End how);
  void adapt_watching();
  void prompt();

  netstack::Loop& loop_;
  OnEnd on_end_;
  bool prompts_;  // standard input may be written to
  bool ended_ = false;
  std::optional<netstack::WatchedFd> input_;  // empty: it is a file, or nobody's any more
  netstack::Fd file_input_;                   // of a kind that cannot, or need not, be waited for
  netstack::Loop::TimerId read_timer_ = 0;
  netstack::Loop::TimerId reader_timer_ = 0;
  Session session_;
};

}  // namespace tools
