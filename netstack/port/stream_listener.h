#pragma once

#include <string>

#include "netstack/port/acceptor.h"
#include "netstack/port/port_host.h"

namespace netstack {

// A listening UNIX socket for QEMU's `-netdev stream,addr.type=unix,addr.path=PATH`: any number of
// connections, each a StreamPort named "stream N", counted from 1 and never reused.
class StreamListener {
 public:
  // Throws Error when it cannot listen at `path`. The ports belong to `host` and outlive this.
  StreamListener(Loop& loop, PortHost& host, Log& log, const std::string& path, mode_t mode = 0600);

 private:
  void serve(Fd client);

  Loop& loop_;
  PortHost& host_;
  LogThrottle log_;
  uint64_t number_ = 0;
  Acceptor acceptor_;
};

}  // namespace netstack
