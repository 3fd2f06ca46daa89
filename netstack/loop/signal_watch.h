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

// Signals as loop events. They are blocked for the calling thread while this lives (make it before
// any thread starts) and the mask is put back at the end; what came too late for the loop is
// discarded then, so that it cannot kill a program that is already ending. A signal that is ignored
// stays ignored: nohup keeps its promise.
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
  int next();  // 0: none waits

  Loop& loop_;
  std::function<void(int)> on_signal_;
  sigset_t mask_before_{};
  Fd fd_;
};

}  // namespace netstack
