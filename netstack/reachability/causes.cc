// The table of causes: one row each, in the order of the enum. `lanyard doctor --causes` prints it,
// and CAUSES.md is that print.
//
// A cause decides, besides its names, the ICMP error that the guest gets over IPv4 and over IPv6,
// and with it what the guest's programs do next.
//
//   no route                  0 / 0   what a router says that has none (RFC 1812 §5.2.7.1)
//   unreachable route         1 / 3   what Linux itself sends when it forwards into such a route
//   prohibit route, firewall  13 / 1  "administratively prohibited": someone decided so
//   blackhole route           1 / 3   a router would stay silent and cost the guest its timeout.
//                                     The host already tells its own programs at once (EINVAL), so
//                                     the guest is told as well. Not 13, because a blackhole does
//                                     not say that anybody forbade this guest; and not 0, because
//                                     a route does exist
//   no or dead nameserver     3 / 4   Linux hands a UDP socket the errors it holds to be final,
//                                     port unreachable among them, and keeps codes 0 and 1 from
//                                     it: a resolver fails at once (ECONNREFUSED) instead of
//                                     waiting
//   policy, share of flows    13 / 1  the same: the gateway itself decided so
//   the gateway's own limits  1 / 3   it may pass, and no claim about the destination's ports
//   silence                   1 / 3   true of the host as far as anyone can see
//   somebody else's error             is passed on in that somebody's words; the row's codes are
//                                     what it most often says
//   anything else             0 / 0   the weakest thing that can be said

#include <array>

#include "netstack/base/check.h"
#include "netstack/reachability/reason.h"

namespace netstack {
namespace {

constexpr IcmpAnswer unreachable(uint8_t code4, uint8_t code6) {
  return {true, kIcmpUnreachable, code4, kIcmpv6Unreachable, code6};
}
constexpr IcmpAnswer kNet = unreachable(kCodeNet, kCodeNoRoute6);
constexpr IcmpAnswer kHost = unreachable(kCodeHost, kCodeAddress6);
constexpr IcmpAnswer kPort = unreachable(kCodePort, kCodePort6);
constexpr IcmpAnswer kProhibited = unreachable(kCodeProhibited, kCodeProhibited6);
constexpr IcmpAnswer kTooBig{true, kIcmpUnreachable, kCodeFragmentationNeeded, kIcmpv6PacketTooBig,
                             0};
constexpr IcmpAnswer kTimeExceeded{true, kIcmpTimeExceeded, 0, kIcmpv6TimeExceeded, 0};
constexpr IcmpAnswer kNoSuchProtocol{true, kIcmpUnreachable, kCodeProtocol, kIcmpv6ParameterProblem,
                                     kCodeUnknownNextHeader6};
constexpr IcmpAnswer kNothing{.told = false};

constexpr auto kRows = std::to_array<CauseRow>({
    {Cause::kOnlyLoopback, "only-loopback", "no route", kNet,
     "this network namespace has no link but \"lo\": a Nix build sandbox, `unshare -n`",
     "`--option sandbox false`, a namespace with a way out, or an offline test",
     "tests/system/test_causes.py NoWay.test_only_loopback"},
    {Cause::kFixedOutputOffline, "fixed-output-offline", "no network for a fixed-output build",
     kNet,
     "a Nix fixed-output build (`NIX_OUTPUT_CHECKED`), which shares its host's network, has only "
     "\"lo\"",
     "a network for the Nix daemon's host",
     "tests/system/test_causes.py NoWay.test_fixed_output_offline"},
    {Cause::kNoDefaultRoute, "no-default-route", "no route", kNet,
     "links are there, no route leads to the destination", "`ip route add default via ROUTER`",
     "tests/system/test_causes.py NoWay.test_no_default_route"},
    {Cause::kProxyOnly, "proxy-only", "reached by a proxy only", kNet,
     "there is no direct way, and the environment names a proxy (`https_proxy`, `all_proxy`, …)",
     "tell the guest's programs the proxy", "tests/system/test_causes.py NoWay.test_proxy_only"},
    {Cause::kIpv6Only, "ipv6-only", "no IPv4 route", kNet,
     "the host has IPv6 and no IPv4 address, the destination is an IPv4 address",
     "an IPv6 destination, or IPv4 for the host",
     "tests/system/test_causes.py NoWay.test_ipv6_only"},
    {Cause::kRouteUnreachable, "route-unreachable", "unreachable route", kHost,
     "an \"unreachable\" route or rule covers the destination", "delete that route or rule",
     "tests/system/test_causes.py NoWay.test_refusing_rules"},
    {Cause::kRouteProhibit, "route-prohibit", "prohibited route", kProhibited,
     "a \"prohibit\" route or rule covers the destination", "delete that route or rule",
     "tests/system/test_causes.py NoWay.test_refusing_routes"},
    {Cause::kRouteBlackhole, "route-blackhole", "blackhole route", kHost,
     "a \"blackhole\" route or rule covers the destination", "delete that route or rule",
     "tests/system/test_causes.py NoWay.test_refusing_routes"},
    {Cause::kCarrierLost, "carrier-lost", "link without carrier", kHost,
     "the link by which the route leaves has no carrier", "plug the link's other end in",
     "tests/system/test_causes.py BrokenWay.test_carrier_lost"},
    {Cause::kNeighbourDead, "neighbour-dead", "next hop does not answer", kHost,
     "the router, or the destination on the link itself, does not answer ARP or neighbour "
     "discovery",
     "bring that machine up, or mend the route",
     "tests/system/test_causes.py BrokenWay.test_neighbour_dead"},
    {Cause::kHostUnreachable, "host-unreachable", "host unreachable", kHost,
     "there is a route, and the host was told that nobody answers at its end (`EHOSTUNREACH`)",
     "check the address, and that its machine is up",
     "tests/unit/explain_test.cc explain: a route whose end does not answer"},
    {Cause::kNoAnswer, "no-answer", "no answer", kHost,
     "the packet left by a good route and nothing came back: a silent host, or a firewall that "
     "drops",
     "another destination, to tell a silent host from a silent path",
     "tests/unit/gateway_connect_test.cc a connect that nobody answers is no refused one"},
    {Cause::kPingNotPermitted, "ping-not-permitted", "ping not permitted", kProhibited,
     "`net.ipv4.ping_group_range` holds none of the gateway's groups",
     "`sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`",
     "tests/system/test_causes.py ThisHost.test_ping_not_permitted"},
    {Cause::kSocketsForbidden, "sockets-forbidden", "socket forbidden", kProhibited,
     "`socket()` is refused (`EPERM`, `EACCES`, `EAFNOSUPPORT`, …) by a seccomp filter, container "
     "or security module",
     "allow that socket there", "tests/system/test_causes.py ThisHost.test_sockets_forbidden"},
    {Cause::kDescriptorsExhausted, "descriptors-exhausted", "no file descriptor left", kHost,
     "the gateway, or the machine, has no file descriptor left (`EMFILE`, `ENFILE`)",
     "a higher `ulimit -Hn`, or fewer flows",
     "tests/system/test_causes.py ThisHost.test_descriptors_exhausted"},
    {Cause::kPortsExhausted, "ports-exhausted", "no local port left", kHost,
     "every local port towards the destination is in use (`EADDRNOTAVAIL`)",
     "wait, or widen `net.ipv4.ip_local_port_range`",
     "tests/system/test_causes.py ThisHost.test_ports_exhausted"},
    {Cause::kFirewallDrops, "firewall-drops", "dropped by this host's firewall", kProhibited,
     "the route is good, and this host's own firewall takes the packet away (`EPERM`)",
     "`nft list ruleset` as root shows the rule",
     "tests/system/test_causes.py Firewall.test_drops"},
    {Cause::kFirewallRejects, "firewall-rejects", "rejected by this host's firewall", kProhibited,
     "this host's own firewall answers with an ICMP error, which is passed on",
     "`nft list ruleset` as root shows the rule",
     "tests/system/test_causes.py Firewall.test_rejects"},
    {Cause::kRemoteProhibited, "remote-prohibited", "prohibited on the way", kProhibited,
     "a router or host answers \"prohibited\" (codes 9, 10, 13; IPv6 1, 5, 6), which is passed on",
     "ask who runs it", "tests/system/test_causes.py Elsewhere.test_remote_prohibited"},
    {Cause::kRefusedOnPath, "refused-on-path", "refused on the way", kHost,
     "a router or host answers with another ICMP error, which is passed on", "ask who runs it",
     "tests/system/test_causes.py Elsewhere.test_refused_on_path"},
    {Cause::kPortClosed, "port-closed", "port closed", kPort,
     "the destination answers that nobody listens at the UDP port", "start the server there",
     "tests/system/test_causes.py Elsewhere.test_port_closed"},
    {Cause::kPacketTooBig, "packet-too-big", "packet too big", kTooBig,
     "the packet says \"don't fragment\" and is bigger than a link on the way carries; the MTU is "
     "told",
     "smaller packets: `--mtu` tells guests an MTU",
     "tests/system/test_causes.py PacketItself.test_too_big_for_a_link_behind_a_router"},
    {Cause::kHopLimit, "hop-limit", "hop limit used up", kTimeExceeded,
     "the packet's hop limit ended at a router, or here: a traceroute, or a loop of routes",
     "nothing, if it was a traceroute",
     "tests/system/test_causes.py Elsewhere.test_hop_limit_by_each_protocol"},
    {Cause::kProtocolUnsupported, "protocol-unsupported", "protocol not carried", kNoSuchProtocol,
     "the packet is neither ICMP echo nor UDP nor TCP: SCTP, GRE, ESP, IPv6 extension headers",
     "carry it in UDP, or plug the other end into the LAN",
     "tests/system/test_causes.py PacketItself.test_protocol_unsupported"},
    {Cause::kOnLan, "on-lan", "an address of this LAN", kHost,
     "a guest sends to the gateway what is addressed to the guests' own network",
     "the guest's netmask should be the LAN's",
     "tests/system/test_causes.py PacketItself.test_on_lan"},
    {Cause::kPolicyDenied, "policy-denied", "denied by this LAN's policy", kProhibited,
     "`--allow` and `--deny` leave the destination out", "`--allow` it",
     "tests/unit/flow_gate_test.cc denied: the guest is told at once, the log names the rule, "
     "once"},
    {Cause::kRestricted, "restricted", "this LAN is restricted", kProhibited,
     "`--restrict` keeps guests from everything beyond the LAN", "leave `--restrict` out",
     "tests/unit/flow_gate_test.cc restrict: nothing leaves, forwards work, DHCP tells of no way "
     "out"},
    {Cause::kFlowLimit, "flow-limit", "too many flows", kProhibited,
     "the guest has its share of the flows that can be open at once",
     "close some, or raise `ulimit -n`",
     "tests/unit/flow_gate_test.cc a guest with its share of flows is told so, another one is "
     "served"},
    {Cause::kNoNameserver, "no-nameserver", "no nameserver", kPort,
     "resolv.conf is missing or names no nameserver", "write one into it",
     "tests/system/test_causes.py Names.test_no_nameserver"},
    {Cause::kNameserverUnrouted, "nameserver-unrouted", "no route to the nameserver", kPort,
     "the host has no route to any nameserver of resolv.conf", "a route, or another nameserver",
     "tests/system/test_causes.py Names.test_nameserver_unrouted"},
    {Cause::kNameserverRefuses, "nameserver-refuses", "nameserver refuses", kPort,
     "nobody listens at the nameserver (`ECONNREFUSED`)", "start it, or name another",
     "tests/system/test_causes.py Names.test_nameserver_refuses"},
    {Cause::kStubResolver, "stub-resolver", "stub resolver out of reach", kPort,
     "the nameserver is a stub on this host's loopback (127.0.0.53) that runs in another network "
     "namespace or not at all",
     "name the stub's own nameservers in resolv.conf",
     "tests/system/test_causes.py Names.test_stub_resolver"},
    {Cause::kNameserverSilent, "nameserver-silent", "nameserver silent", kHost,
     "the nameserver did not answer in time; over DNS the guest gets SERVFAIL",
     "start it, or name another", "tests/system/test_doctor.py NameserverTest.test_silent"},
    {Cause::kGuestRefuses, "guest-refuses", "the guest refuses", kNothing,
     "a guest answers a forwarded packet with an ICMP error: its firewall", "the guest's firewall",
     "tests/unit/gateway_connect_test.cc a guest that refuses what a forward brings"},
    {Cause::kForwardUnanswered, "forward-unanswered", "no guest answers the forward", kNothing,
     "a forward's guest is not there, or does not listen at the port", "start the server there",
     "tests/system/test_doctor_lan.py ForwardTest.test_without_and_with_a_guest_that_listens"},
    {Cause::kNoLease, "no-lease", "no lease", kNothing, "a guest sends frames and has no lease",
     "a DHCP client in the guest, or an address by hand",
     "tests/system/test_doctor_lan.py LeaseTest.test_a_guest_that_never_asked"},
    {Cause::kNoGuestRoute, "no-guest-route", "no default route in the guest", kNothing,
     "a guest looks for an address beyond its network on the link itself",
     "a default route in the guest, to the gateway",
     "tests/system/test_doctor_lan.py RouteTest.test_a_guest_without_default_route"},
    {Cause::kWrongVlan, "wrong-vlan", "wrong VLAN", kNothing,
     "a guest's frames are in a VLAN that the gateway is not in", "one VLAN for both",
     "tests/system/test_doctor_lan.py VlanTest.test_a_guest_that_calls_the_gateway_in_a_vlan"},
    {Cause::kDuplicateMac, "duplicate-mac", "duplicate MAC address", kNothing,
     "two plugs use one MAC address", "a MAC address of its own for each guest",
     "tests/system/test_doctor_lan.py DuplicateTest.test_one_mac_address_behind_two_ports"},
    {Cause::kDuplicateIp, "duplicate-ip", "duplicate IP address", kNothing,
     "two MAC addresses claim one IP address", "an IP address of its own for each guest",
     "tests/system/test_doctor_lan.py DuplicateTest.test_one_ip_address_of_two_guests"},
    {Cause::kPlugDead, "plug-dead", "dead plug", kNothing,
     "a plug takes no frames: its guest's driver is not up, or its program hangs",
     "bring the guest's link up",
     "tests/system/test_doctor_lan.py PlugTest.test_a_plug_that_takes_nothing"},
    {Cause::kUnknown, "unknown", "refused by the host", kNet,
     "the host refused with an errno that no rule explains: it is named, with the call that gave "
     "it",
     "`lanyard doctor --to ADDRESS`", "tests/system/test_causes.py ThisHost.test_unknown"},
});

constexpr bool rows_follow_the_enum() {
  for (size_t at = 0; at < kRows.size(); ++at) {
    if (kRows[at].cause != static_cast<Cause>(at) || kRows[at].id.empty()) return false;
  }
  return true;
}
static_assert(kRows.size() == kCauseCount, "a row for each cause");
static_assert(rows_follow_the_enum(), "rows in the order of the enum, each with its id");

}  // namespace

const CauseRow& cause_row(Cause cause) {
  const auto at = static_cast<size_t>(cause);
  check(at < kRows.size(), "a cause has its row");
  return kRows[at];
}

std::optional<IcmpWords> words_for(const Reason& reason, bool v6) {
  if (reason.said) return reason.said;
  const IcmpAnswer& answer = cause_row(reason.cause).answer;
  if (!answer.told) return std::nullopt;
  return v6 ? IcmpWords{answer.type6, answer.code6} : IcmpWords{answer.type4, answer.code4};
}

std::string told_to_guest(const Reason& reason, bool v6) {
  const auto words = words_for(reason, v6);
  return words ? icmp_phrase(v6, *words) : "nothing";
}

}  // namespace netstack
