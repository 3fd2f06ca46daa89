#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "netstack/wire/ip_address.h"

namespace netstack {

struct GatewayNetwork;

// A place in the guests' network that leads to something on the host: QEMU's guestfwd.
//
//   [tcp]:ADDRESS:PORT-cmd:COMMAND     each connection starts `/bin/sh -c COMMAND`, as its standard
//                                      input and output
//   [tcp]:ADDRESS:PORT-tcp:HOST:PORT   each connection is one to there
//   [tcp]:ADDRESS:PORT-unix:PATH
//
// ADDRESS is an IPv4 address of the guests' network that nobody else has; no guest is leased it.
struct GuestForward {
  enum class Kind : uint8_t { kTcp, kUnix, kCommand };
  static constexpr size_t kPathBytesMax = 107;  // of a UNIX socket

  IpAddress address;
  uint16_t port = 0;
  Kind kind = Kind::kTcp;
  IpAddress target_address;  // kTcp
  uint16_t target_port = 0;
  std::string target;  // kUnix: the path; kCommand: the command

  static GuestForward parse(std::string_view text);  // throws Error
  // Throws Error: the address is not in the network, or is the gateway's or the nameserver's.
  void check(const GatewayNetwork& network) const;
};
std::string to_string(const GuestForward& forward);

}  // namespace netstack
