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

// Whether this program was started with the signal ignored, or ignores it by now.
bool is_ignored(int signal);

// Signals as loop events. They are blocked for the calling thread (make this before any thread
// starts) and stay so when this ends: a program without its watch is ending, and a second request
// to end must not kill it on the way and give it another exit status.
//
// A signal that is ignored is left alone, and not blocked either, since Linux queues one that is
// both. So a program outlives the terminal under nohup (SIGHUP), and the Ctrl-C that is meant for
// the script that started it with & (POSIX shells without job control have SIGINT and SIGQUIT
// ignored there). SIGTERM alone is heard all the same: it is meant for this very program, and
// whoever is not heard comes back with SIGKILL, after which nothing is taken away.
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
