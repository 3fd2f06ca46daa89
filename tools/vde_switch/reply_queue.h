#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "netstack/base/fd.h"
#include "netstack/loop/loop.h"

namespace tools {

constexpr size_t kReplyBacklog_size = 256U << 10U;  // unread: no further command is run until then

// Bytes for a peer that may not read: a socket, or a standard output of any kind. put() never
// waits. What does not go out at once is kept; it is for the caller to stop when backlogged().
//
// The descriptor keeps its flags, since others may share it: O_NONBLOCK on a standard output would
// reach the shell's. A socket is asked not to wait call by call, a terminal is opened a second
// time, a pipe takes up to PIPE_BUF bytes once it polls writable, and a file never makes one wait.
class ReplyQueue {
 public:
  // `on_drained`: all of it is out, after it was not. Called by the loop.
  ReplyQueue(netstack::Loop& loop, netstack::Fd fd, std::function<void()> on_drained);
  ~ReplyQueue();
  ReplyQueue(const ReplyQueue&) = delete;
  ReplyQueue& operator=(const ReplyQueue&) = delete;

  void put(std::string_view bytes);
  size_t size() const { return bytes_.size() - sent_size_; }
  bool empty() const { return size() == 0; }
  bool backlogged() const { return size() > kReplyBacklog_size; }
  uint64_t taken_count() const { return taken_count_; }  // bytes, in all
  void give_up();                  // forgets what is kept and what will come: nobody reads it
  void flush_within(int wait_ms);  // waits that long at most; for the end of the program

 private:
  enum class Kind { kSocket, kPipe, kTerminal, kFile };

  bool write_some();  // false: it would have to wait
  void set_watching(bool on);

  netstack::Loop& loop_;
  netstack::Fd fd_;
  Kind kind_;
  std::function<void()> on_drained_;
  std::string bytes_;
  size_t sent_size_ = 0;
  uint64_t taken_count_ = 0;
  bool broken_ = false;  // the peer closed, or was given up: everything is dropped
  bool watching_ = false;
};

}  // namespace tools
