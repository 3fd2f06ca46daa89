#pragma once

#include <string>

#include "netstack/port/acceptor.h"
#include "netstack/port/port_host.h"
#include "netstack/vhost_user/vhost_user_poller.h"

namespace netstack {

// A listening UNIX socket for QEMU's `-chardev socket,path=PATH` with `-netdev vhost-user`: any
// number of connections, each a VhostUserPort named "vhost-user N", counted from 1 and never
// reused.
class VhostUserListener {
 public:
  // Throws Error when it cannot listen at `path`. The ports belong to `host` and outlive this, and
  // `poller` outlives them.
  VhostUserListener(Loop& loop, PortHost& host, VhostUserPoller& poller, Log& log,
                    const std::string& path, mode_t mode = 0600);

 private:
  void serve(Fd client);

  Loop& loop_;
  PortHost& host_;
  VhostUserPoller& poller_;
  LogThrottle log_;
  uint64_t number_ = 0;
  Acceptor acceptor_;
};

}  // namespace netstack
