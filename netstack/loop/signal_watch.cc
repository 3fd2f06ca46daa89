#include "netstack/loop/signal_watch.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

#include "netstack/base/error.h"

namespace netstack {

// signalfd rather than handlers: a handler may do almost nothing and runs between any two
// instructions, whereas this is one more descriptor of the loop.

SignalWatch::SignalWatch(Loop& loop, std::span<const int> signals,
                         std::function<void(int)> on_signal)
    : loop_(loop), on_signal_(std::move(on_signal)) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw host_error(errno, "make a signal descriptor", "raise `ulimit -n`");
  loop_.watch(fd_.get(), EPOLLIN, [this](uint32_t) {
    if (const int signal = next(); signal != 0) on_signal_(signal);
  });
  ::pthread_sigmask(SIG_BLOCK, &set, &mask_before_);
}

SignalWatch::~SignalWatch() {
  loop_.forget(fd_.get());
  while (next() != 0) {
  }
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

int SignalWatch::next() {
  signalfd_siginfo info{};
  const ssize_t size = ::read(fd_.get(), &info, sizeof info);
  return size == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace netstack
