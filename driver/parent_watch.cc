#include "driver/parent_watch.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "driver/pidfd.h"
#include "netstack/base/error.h"
#include "netstack/loop/signal_watch.h"

namespace driver {

// A pidfd of the parent, and not PR_SET_PDEATHSIG on ourselves: that signal is sent when the
// parent's THREAD that forked us ends. A Python test driver that starts machines from worker
// threads would lose them one by one, with the driver itself alive and well.

ParentWatch::ParentWatch(netstack::Loop& loop, std::function<void()> on_gone)
    : loop_(loop), on_gone_(std::move(on_gone)) {
  const pid_t parent = ::getppid();
  if (parent == 0 || netstack::is_ignored(SIGHUP)) return;
  parent_ = open_pidfd(parent);
  const int error = errno;
  if (::getppid() != parent) {  // it ended while we looked: the pidfd may be a stranger's
    parent_.reset();
    timer_ = loop_.after(0, [this] { on_gone_(); });
    return;
  }
  if (!parent_) {
    throw netstack::host_error(error, "watch the parent process", "Linux 5.3 or newer is needed");
  }
  loop_.watch(parent_.get(), EPOLLIN, [this](uint32_t) {
    loop_.forget(parent_.get());
    on_gone_();
  });
}

ParentWatch::~ParentWatch() {
  loop_.cancel(timer_);
  if (parent_) loop_.forget(parent_.get());
}

}  // namespace driver
