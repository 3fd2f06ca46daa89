#include "netstack/loop/signal_watch.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "netstack/base/error.h"

namespace netstack {

// signalfd rather than handlers: a handler may do almost nothing and runs between any two
// instructions, whereas this is one more descriptor of the loop.

bool is_ignored(int signal) {
  struct sigaction now {};
  ::sigaction(signal, nullptr, &now);
  return now.sa_handler == SIG_IGN;
}

SignalWatch::SignalWatch(Loop& loop, std::span<const int> signals,
                         std::function<void(int)> on_signal)
    : loop_(loop), on_signal_(std::move(on_signal)) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) {
    if (signal == SIGTERM || !is_ignored(signal)) ::sigaddset(&set, signal);
  }
  fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw host_error(errno, "make a signal descriptor", "raise `ulimit -n`");
  loop_.watch(fd_.get(), EPOLLIN, [this](uint32_t) {
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      on_signal_(static_cast<int>(info.ssi_signo));
    }
  });
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

SignalWatch::~SignalWatch() {
  loop_.forget(fd_.get());
}

void end_by_signal(int signal) {
  ::signal(signal, SIG_DFL);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal);
  std::abort();  // for the compiler: a signal at its default has ended us
}

}  // namespace netstack
