#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/reachability/icmp_words.h"
#include "netstack/wire/target.h"

namespace netstack {

// Every way in which a guest can fail to reach something that can be told apart. A new one is a
// name here and its row in causes.cc, which refuses to compile without it; a judgement (judge*.cc)
// then says when it is the case.
enum class Cause : uint8_t {
  // The host has no way there.
  kOnlyLoopback,        // this network namespace has no link but "lo"
  kFixedOutputOffline,  // the same, in a Nix fixed-output build, which should have a network
  kNoDefaultRoute,      // links and routes exist, none leads there
  kProxyOnly,           // no direct way, and the environment names a proxy
  kIpv6Only,            // no IPv4 route at all, IPv6 works
  kRouteUnreachable,    // an "unreachable" route or rule
  kRouteProhibit,       // a "prohibit" route or rule
  kRouteBlackhole,      // a "blackhole" route or rule
  // There is a way, and it is broken.
  kCarrierLost,      // the link it leaves by has no carrier
  kNeighbourDead,    // the next hop does not answer ARP or neighbour discovery
  kHostUnreachable,  // a route exists, and somebody says that nobody answers at its end
  kNoAnswer,         // the packet left, nothing came back
  // This host will not let it go.
  kPingNotPermitted,      // ping_group_range holds none of our groups
  kSocketsForbidden,      // a seccomp filter or container refuses the socket
  kDescriptorsExhausted,  // no file descriptor is left
  kPortsExhausted,        // no local port is left
  kFirewallDrops,         // the host's firewall takes the packet away
  kFirewallRejects,       // the host's firewall answers with an ICMP error
  // Somebody on the way, or at its end, refuses.
  kRemoteProhibited,  // an ICMP "prohibited" from elsewhere
  kRefusedOnPath,     // another ICMP error from elsewhere
  kPortClosed,        // nobody listens at the port
  // The packet cannot go on as it is.
  kPacketTooBig,         // bigger than a link on the way carries, and not to be fragmented
  kHopLimit,             // its hop limit is used up
  kProtocolUnsupported,  // neither ICMP echo, nor UDP, nor TCP
  kOnLan,                // addressed to a neighbour of the guest, sent to the gateway
  // Somebody decided so for this LAN.
  kPolicyDenied,  // the LAN's policy denies it
  kRestricted,    // the LAN is restricted to itself
  kFlowLimit,     // the guest has its share of the flows that can be open
  // Names.
  kNoNameserver,        // resolv.conf is missing or names no server
  kNameserverUnrouted,  // the host has no route to its nameserver
  kNameserverRefuses,   // nobody listens at the nameserver
  kStubResolver,        // the nameserver is this host's own stub, and nobody listens there
  kNameserverSilent,    // the nameserver did not answer in time
  // The guest's own side.
  kGuestRefuses,       // the guest answers a forwarded packet with an ICMP error
  kForwardUnanswered,  // a forward's guest does not listen
  kNoLease,            // a guest has no address
  kNoGuestRoute,       // a guest has no default route
  kWrongVlan,          // a guest's frames are in another VLAN than the gateway
  kDuplicateMac,       // two plugs use one MAC address
  kDuplicateIp,        // two MAC addresses claim one IP address
  kPlugDead,           // a plug takes no frames, or gives none
  kUnknown,            // the host refused with an errno no rule explains
  kCount,
};

// The ICMP error a guest gets for a cause, over IPv4 and over IPv6.
struct IcmpAnswer {
  bool told = true;  // false: the guest is told nothing, the codes do not count
  uint8_t type4 = kIcmpUnreachable;
  uint8_t code4 = 0;
  uint8_t type6 = kIcmpv6Unreachable;
  uint8_t code6 = 0;
};

struct CauseRow {
  Cause cause;
  std::string_view id;     // stable, for machines: "only-loopback"
  std::string_view title;  // for people: "no route"
  IcmpAnswer answer;
  std::string_view when;   // the case in general; a Reason's `fact` is the case at hand
  std::string_view cure;   // likewise
  std::string_view proof;  // the test that shows it, "tests/…/x.py Class.test"; empty: nothing in
                           // the tree finds this cause yet, and the table leaves it out
};
const CauseRow& cause_row(Cause cause);
constexpr size_t kCauseCount = static_cast<size_t>(Cause::kCount);

// What a destination's unreachability comes to: fact and cure are whole sentences without their
// full stop, written for the case at hand. A fact names only what was found; `cure` may be empty.
struct Reason {
  Cause cause = Cause::kUnknown;
  int errno_value = 0;
  std::string fact;  // this network namespace has only "lo" (a Nix build sandbox: …)
  std::string cure;  // --option sandbox false, or keep the test offline
  std::optional<IcmpWords> said = {};  // an ICMP error to pass on, in the place of the row's; or
                                       // one with its MTU
};

// The ICMP error that tells a guest of the reason. Nothing: the guest is not told.
std::optional<IcmpWords> words_for(const Reason& reason, bool v6);
// The same as the guest's ping prints it; "nothing".
std::string told_to_guest(const Reason& reason, bool v6);

}  // namespace netstack
