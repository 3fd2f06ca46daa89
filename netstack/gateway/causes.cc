// The table of causes: one row each, in the order of the enum.
//
// A cause decides three things besides its name: the code of the ICMP "destination unreachable"
// that the guest gets over IPv4 and over IPv6, and with it what the guest's programs do next.
//
//   no route                  0 / 0   what a router says that has none (RFC 1812 §5.2.7.1)
//   unreachable route         1 / 3   what Linux itself sends when it forwards into such a route
//   prohibit route, ping      13 / 1  "administratively prohibited": someone decided so
//   blackhole route           1 / 3   a router would stay silent and cost the guest its timeout.
//   The
//                                     host already tells its own programs at once (EINVAL), so the
//                                     guest is told as well. Not 13, because a blackhole does not
//                                     say that anybody forbade this guest; and not 0, because a
//                                     route does exist
//   no or dead nameserver     3 / 4   Linux hands a UDP socket the errors it holds to be final,
//   port
//                                     unreachable among them, and keeps codes 0 and 1 from it: a
//                                     resolver fails at once (ECONNREFUSED) instead of waiting
//   silence                   1 / 3   true of the host as far as anyone can see, and no claim about
//                                     its ports
//   anything else             0 / 0   the weakest thing that can be said
//
// The phrases are those of iputils' ping, the ping of most guests (busybox prints the type only).

#include <array>

#include "netstack/base/check.h"
#include "netstack/gateway/reason.h"

namespace netstack {
namespace {

constexpr IcmpAnswer kNetUnreachable{0, 0, "Destination Net Unreachable",
                                     "Destination unreachable: No route"};
constexpr IcmpAnswer kHostUnreachable{1, 3, "Destination Host Unreachable",
                                      "Destination unreachable: Address unreachable"};
constexpr IcmpAnswer kPortUnreachable{3, 4, "Destination Port Unreachable",
                                      "Destination unreachable: Port unreachable"};
constexpr IcmpAnswer kProhibited{13, 1, "Packet filtered",
                                 "Destination unreachable: Administratively prohibited"};

constexpr auto kRows = std::to_array<CauseRow>({
    {Cause::kOnlyLoopback, "only-loopback", "no route", kNetUnreachable},
    {Cause::kNoDefaultRoute, "no-default-route", "no route", kNetUnreachable},
    {Cause::kIpv6Only, "ipv6-only", "no IPv4 route", kNetUnreachable},
    {Cause::kRouteUnreachable, "route-unreachable", "unreachable route", kHostUnreachable},
    {Cause::kRouteProhibit, "route-prohibit", "prohibited route", kProhibited},
    {Cause::kRouteBlackhole, "route-blackhole", "blackhole route", kHostUnreachable},
    {Cause::kPingNotPermitted, "ping-not-permitted", "ping not permitted", kProhibited},
    {Cause::kNoNameserver, "no-nameserver", "no nameserver", kPortUnreachable},
    {Cause::kNameserverUnrouted, "nameserver-unrouted", "no route to the nameserver",
     kPortUnreachable},
    {Cause::kNameserverRefuses, "nameserver-refuses", "nameserver refuses", kPortUnreachable},
    {Cause::kNameserverSilent, "nameserver-silent", "nameserver silent", kHostUnreachable},
    {Cause::kHostUnreachable, "host-unreachable", "host unreachable", kHostUnreachable},
    {Cause::kRefusedOnPath, "refused-on-path", "refused on the way", kHostUnreachable},
    {Cause::kNoAnswer, "no-answer", "no answer", kHostUnreachable},
    {Cause::kUnknown, "unknown", "refused by the host", kNetUnreachable},
});

constexpr bool rows_follow_the_enum() {
  for (size_t at = 0; at < kRows.size(); ++at) {
    if (kRows[at].cause != static_cast<Cause>(at) || kRows[at].id.empty()) return false;
  }
  return true;
}
static_assert(kRows.size() == static_cast<size_t>(Cause::kCount), "a row for each cause");
static_assert(rows_follow_the_enum(), "rows in the order of the enum, each with its id");

}  // namespace

const CauseRow& cause_row(Cause cause) {
  const auto at = static_cast<size_t>(cause);
  check(at < kRows.size(), "a cause has its row");
  return kRows[at];
}

std::string_view protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::kIcmpEcho:
      return "icmp echo";
    case Protocol::kUdp:
      return "udp";
    case Protocol::kTcp:
      return "tcp";
  }
  check(false, "a protocol has a name");
  return {};
}

}  // namespace netstack
