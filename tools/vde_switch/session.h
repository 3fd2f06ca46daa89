#pragma once

#include <functional>
#include <string_view>

#include "tools/vde_switch/command_splitter.h"
#include "tools/vde_switch/events.h"
#include "tools/vde_switch/interpreter.h"
#include "tools/vde_switch/reply_queue.h"

namespace tools {

constexpr uint64_t kCommandTail_ns = 50 * netstack::kMillisecond_ns;  // silence that ends a command
constexpr size_t kConsoleRead_size = 4096;

// One conversation, on a console or a management socket: bytes in, replies and events out.
//
//   bytes ─► CommandSplitter ─► Interpreter ─► ReplyQueue ─► peer
//                  ▲                              │
//                  └──────── not while backlogged ┘       EventBoard ─► ReplyQueue, or counted
//
// What has no line feed yet is run after kCommandTail_ns of silence. A script on a console is not
// to be cut in two by a writer that pauses, so there a peer that has sent line feeds is waited for
// without limit. On a management socket it is not: vdeterm sends "help" with one and all that is
// typed without.
//
// A peer that does not read is not served either: its commands wait where it put them. Events wait
// for nobody: what a backlogged peer misses is counted, and logged when it reads again.
class Session final : public Listener {
 public:
  enum class Tail : uint8_t { kEndsWithSilence, kEndsAsLinesBefore };
  struct Habits {
    // After each reply, once it is out. Empty: the prompt is part of what is sent.
    std::function<void()> prompt;
    std::function<bool(Next)> on_end;  // logout or shutdown was asked for; whether that ends it
    std::function<void()> on_flow;     // wants_input() or idle() may have changed
    Tail tail = Tail::kEndsWithSilence;
  };

  Session(Interpreter& interpreter, SwitchState& state, netstack::Fd out, Habits habits);
  ~Session() override;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void take(std::string_view bytes);
  void take_end();  // what has no line feed yet is the last command

  bool wants_input() const { return !replies_.backlogged() && !ended_; }
  bool idle() const { return replies_.empty(); }
  ReplyQueue& replies() { return replies_; }

  void event_line(std::string_view line) noexcept override;

 private:
  void run_commands();
  void run(const CommandSplitter::Line& line);
  bool silence_ends_tail() const;
  void wait_for_tail();
  void on_drained();
  void prompt_if_due();

  Interpreter& interpreter_;
  SwitchState& state_;
  Habits habits_;
  CommandSplitter splitter_;
  ReplyQueue replies_;
  netstack::Loop::TimerId tail_timer_ = 0;
  bool prompt_due_ = false;
  bool ended_ = false;
  uint64_t lost_events_ = 0;
};

}  // namespace tools
