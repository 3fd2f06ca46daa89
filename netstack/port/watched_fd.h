#pragma once

#include <utility>

#include "netstack/base/fd.h"
#include "netstack/loop/loop.h"

namespace netstack {

// Owns a descriptor together with its place in the loop, so that it is always forgotten before it
// is closed, also when a constructor throws half way. May be destroyed from inside its own handler.
class WatchedFd {
 public:
  // Throws Error when the kernel refuses to watch; the descriptor is closed then.
  WatchedFd(Loop& loop, Fd fd, uint32_t epoll_events, Loop::ReadyHandler on_ready)
      : loop_(loop), fd_(std::move(fd)), events_(epoll_events) {
    loop_.watch(fd_.get(), epoll_events, std::move(on_ready));
  }
  ~WatchedFd() { forget(); }
  WatchedFd(const WatchedFd&) = delete;
  WatchedFd& operator=(const WatchedFd&) = delete;

  int get() const { return fd_.get(); }

  // Other events, same handler. Nothing happens when they are the same or nobody watches any more.
  void rewatch(uint32_t epoll_events) {
    if (!watched_ || events_ == epoll_events) return;
    events_ = epoll_events;
    loop_.rewatch(fd_.get(), epoll_events);
  }

  // See Loop::set_busy().
  void set_busy(bool busy) {
    if (!watched_ || busy_ == busy) return;
    busy_ = busy;
    loop_.set_busy(fd_.get(), busy);
  }

  // See Loop::wait_by_poll().
  void wait_by_poll() {
    if (watched_) loop_.wait_by_poll(fd_.get());
  }

  void forget() {
    if (std::exchange(watched_, false)) loop_.forget(fd_.get());
  }

  // Gives the descriptor away, no longer watched.
  Fd release() {
    forget();
    return std::move(fd_);
  }

 private:
  Loop& loop_;
  Fd fd_;
  uint32_t events_;
  bool watched_ = true;
  bool busy_ = false;
};

}  // namespace netstack
