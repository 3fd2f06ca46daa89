#include "netstack/reachability/own_address.h"

#include <sys/socket.h>

#include "netstack/base/fd.h"

namespace netstack {

bool is_own_address(const IpAddress& address) {
  const Fd socket(::socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage to{};
  const socklen_t bytes = to_sockaddr(address, 0, to);
  return socket && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&to), bytes) == 0;
}

}  // namespace netstack
