#include "netstack/vhost_user/vhost_user_listener.h"

#include <fmt/format.h>

#include "netstack/vhost_user/vhost_user_port.h"

namespace netstack {

VhostUserListener::VhostUserListener(Loop& loop, PortHost& host, VhostUserPoller& poller, Log& log,
                                     const std::string& path, mode_t mode)
    : loop_(loop),
      host_(host),
      poller_(poller),
      log_(log, loop.clock(), fmt::format("clients of {}", path)),
      acceptor_(loop, log_, listen_unix(path, mode),
                [this](Fd client) { serve(std::move(client)); }) {}

void VhostUserListener::serve(Fd client) {
  auto port = std::make_unique<VhostUserPort>(loop_, host_, poller_, std::move(client),
                                              fmt::format("vhost-user {}", ++number_));
  if (host_.add(std::move(port)) == nullptr) {
    log_.line(fmt::format("vhost-user {} was turned away: the LAN is full", number_));
  }
}

}  // namespace netstack
