#pragma once

#include <functional>
#include <optional>

#include "netstack/base/log_throttle.h"
#include "netstack/loop/loop.h"
#include "netstack/port/unix_socket.h"
#include "netstack/port/watched_fd.h"

namespace netstack {

constexpr int kAcceptsPerTick_count = 32;
constexpr uint64_t kAcceptPause_ns = kSecond_ns;  // when not even a refusal is possible

// Takes clients from a listening socket and hands their descriptors on (non-blocking,
// close-on-exec). An Error from `on_client` costs that client its connection and is logged.
//
// Out of descriptors, a level-triggered listener would be ready for ever and its clients would
// wait for ever. One descriptor is kept in reserve: it is given up to accept a client and close it
// again, so the client sees the end at once. If even that fails (the whole system is out of
// descriptors), the listener rests for kAcceptPause_ns. Either is logged once until a client is
// served again.
class Acceptor {
 public:
  using OnClient = std::function<void(Fd)>;

  Acceptor(Loop& loop, LogThrottle& log, UnixListener listener, OnClient on_client);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  const std::string& path() const { return file_.path(); }

 private:
  void accept_some();
  void serve(Fd client);
  void refuse_one(int errno_value);
  void pause();

  Loop& loop_;
  LogThrottle& log_;
  OnClient on_client_;
  Fd reserve_;
  bool said_ = false;
  Loop::TimerId resume_ = 0;
  WatchedFd listening_;
  SocketFile file_;  // goes before the socket does, so nobody connects to what is closing
};

}  // namespace netstack
