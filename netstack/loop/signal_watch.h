#pragma once

#include <signal.h>

#include <array>
#include <functional>
#include <span>

#include "netstack/base/fd.h"
#include "netstack/loop/loop.h"

namespace netstack {

// What asks a program to end: `kill`, Ctrl-C, a terminal that closes, Ctrl-\.
inline constexpr std::array kEndingSignals = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

// Signals as loop events. They are blocked for the calling thread (make this before any thread
// starts) and stay so when this ends: a program without its watch is ending, and a second request
// to end must not kill it on the way and give it another exit status. That a signal was ignored
// before (nohup) counts for nothing: Linux queues one that is blocked all the same.
class SignalWatch {
 public:
  // Throws Error.
  SignalWatch(Loop& loop, std::span<const int> signals, std::function<void(int)> on_signal);
  ~SignalWatch();
  // Readable when a signal waits for the loop.
  int fd() const { return fd_.get(); }
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  Loop& loop_;
  std::function<void(int)> on_signal_;
  Fd fd_;
};

// Ends this program as the signal would have, had nobody watched for it.
[[noreturn]] void end_by_signal(int signal);

}  // namespace netstack
