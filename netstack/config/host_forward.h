#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "netstack/wire/target.h"

namespace netstack {

// A place on the host that leads into a guest: QEMU's hostfwd, and more.
//
//   PROTOCOL:[HOST]:PORTS-[GUEST]:PORTS    tcp:127.0.0.1:2222-:22
//   unix:PATH-[GUEST]:PORT                 unix:/tmp/ssh-:22
//
//   PROTOCOL  tcp or udp
//   HOST      an address of this host, IPv4 or [IPv6]; 127.0.0.1 if left out
//   GUEST     an address of the guests' networks; the first lease if left out; [::] is the first
//             IPv6 guest that was heard
//   PORTS     one port, or a range FIRST-LAST, the same number of ports on both sides (of the
//             guest's range the first port is enough). Host port 0: the kernel chooses
//   PATH      absolute. TCP behind it
//
// The grammar needs no guess: what follows the host's first port is its range if it is digits and
// another '-'; a guest side never begins like that.
struct HostForward {
  static constexpr size_t kPathBytesMax = 107;  // of a UNIX socket

  Protocol protocol = Protocol::kTcp;
  std::string path;  // not empty: a UNIX socket, and no host address or port
  IpAddress host_address = IpAddress::v4(0x7f000001);
  uint16_t host_port = 0;   // 0: the kernel chooses
  uint16_t port_count = 1;  // from host_port and guest_port on
  IpAddress guest_address;  // 0.0.0.0: the first lease; ::: the first IPv6 guest
  uint16_t guest_port = 0;

  static HostForward parse(std::string_view text);  // throws Error
  bool is_unix() const { return !path.empty(); }
  bool operator==(const HostForward&) const = default;
};

// In the grammar above, host address included.
std::string to_string(const HostForward& forward);
// "127.0.0.1:80", "[::1]:80".
std::string endpoint_text(const IpAddress& address, uint16_t port);

}  // namespace netstack
