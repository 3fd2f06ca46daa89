#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "netstack/wire/ip_address.h"

namespace netstack {

// Every way a destination can be out of reach that the gateway can tell apart. A new one is a name
// here and its row in causes.cc, which holds ids, titles and ICMP answers and refuses to compile
// without it; judge.cc then says when it is the case.
enum class Cause : uint8_t {
  kOnlyLoopback,        // this network namespace has no link but "lo"
  kNoDefaultRoute,      // links and routes exist, none leads there
  kIpv6Only,            // no IPv4 route at all, IPv6 works
  kRouteUnreachable,    // an "unreachable" route
  kRouteProhibit,       // a "prohibit" route
  kRouteBlackhole,      // a "blackhole" route
  kPingNotPermitted,    // ping_group_range holds none of our groups
  kNoNameserver,        // resolv.conf is missing or names no server
  kNameserverUnrouted,  // the host has no route to its nameserver
  kNameserverRefuses,   // nobody listens at the nameserver
  kNameserverSilent,    // the nameserver did not answer in time
  kHostUnreachable,     // a route exists, and nobody answers for the address at its end
  kRefusedOnPath,       // the packet left, an ICMP error came back for it
  kNoAnswer,            // a route exists, the packet left, nothing came back (doctor only)
  kUnknown,             // the host refused with an errno no rule explains
  kCount,
};

// The ICMP answer for the guest. IPv4: RFC 792, RFC 1812 §5.2.7.1; IPv6: RFC 4443 §3.1.
struct IcmpAnswer {
  uint8_t code4;             // of type 3, destination unreachable
  uint8_t code6;             // of type 1, destination unreachable
  std::string_view phrase4;  // what ping prints in an IPv4 guest: "Destination Net Unreachable"
  std::string_view phrase6;
};

struct CauseRow {
  Cause cause;
  std::string_view id;     // stable, for machines: "only-loopback"
  std::string_view title;  // for people: "no route"
  IcmpAnswer answer;
};
const CauseRow& cause_row(Cause cause);

// What a destination's unreachability comes to: fact and cure are whole sentences without their
// full stop, written for the case at hand. A fact names only what was found; `cure` may be empty.
struct Reason {
  Cause cause = Cause::kUnknown;
  int errno_value = 0;
  std::string fact;  // this network namespace has only "lo" (a Nix build sandbox: …)
  std::string cure;  // --option sandbox false, or keep the test offline
};

enum class Protocol : uint8_t { kIcmpEcho, kUdp, kTcp };
std::string_view protocol_name(Protocol protocol);  // "icmp echo", "udp", "tcp"

struct Target {
  Protocol protocol = Protocol::kIcmpEcho;
  IpAddress address;
  uint16_t port = 0;  // 0 for icmp echo
};

}  // namespace netstack
