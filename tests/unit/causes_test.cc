// The table of causes, and the line of the log that is made from it.
#include <doctest/doctest.h>

#include <cerrno>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "netstack/gateway/reachability.h"

using namespace netstack;

namespace {

IpAddress ip(std::string_view text) {
  return *IpAddress::parse(text);
}

Target echo(std::string_view address) {
  return {Protocol::kIcmpEcho, ip(address), 0};
}

}  // namespace

TEST_CASE("each cause has an id of its own, a title and codes that ping has phrases for") {
  std::set<std::string_view> ids;
  for (size_t at = 0; at < static_cast<size_t>(Cause::kCount); ++at) {
    const CauseRow& row = cause_row(static_cast<Cause>(at));
    CAPTURE(row.id);
    CHECK(ids.insert(row.id).second);
    CHECK(row.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") ==
          std::string_view::npos);
    CHECK_FALSE(row.title.empty());
    static const std::map<int, std::string_view> kPhrases4{{0, "Destination Net Unreachable"},
                                                           {1, "Destination Host Unreachable"},
                                                           {3, "Destination Port Unreachable"},
                                                           {13, "Packet filtered"}};
    static const std::map<int, std::string_view> kPhrases6{
        {0, "Destination unreachable: No route"},
        {1, "Destination unreachable: Administratively prohibited"},
        {3, "Destination unreachable: Address unreachable"},
        {4, "Destination unreachable: Port unreachable"}};
    REQUIRE(kPhrases4.contains(row.answer.code4));
    REQUIRE(kPhrases6.contains(row.answer.code6));
    CHECK(row.answer.phrase4 == kPhrases4.at(row.answer.code4));
    CHECK(row.answer.phrase6 == kPhrases6.at(row.answer.code6));
  }
}

TEST_CASE("each cause has the ICMP codes that were chosen for it") {
  struct Chosen {
    Cause cause;
    std::string_view id;
    int code4;
    int code6;
  };
  const std::vector<Chosen> chosen{{Cause::kOnlyLoopback, "only-loopback", 0, 0},
                                   {Cause::kNoDefaultRoute, "no-default-route", 0, 0},
                                   {Cause::kIpv6Only, "ipv6-only", 0, 0},
                                   {Cause::kRouteUnreachable, "route-unreachable", 1, 3},
                                   {Cause::kRouteProhibit, "route-prohibit", 13, 1},
                                   {Cause::kRouteBlackhole, "route-blackhole", 1, 3},
                                   {Cause::kPingNotPermitted, "ping-not-permitted", 13, 1},
                                   {Cause::kNoNameserver, "no-nameserver", 3, 4},
                                   {Cause::kNameserverUnrouted, "nameserver-unrouted", 3, 4},
                                   {Cause::kNameserverRefuses, "nameserver-refuses", 3, 4},
                                   {Cause::kNameserverSilent, "nameserver-silent", 1, 3},
                                   {Cause::kHostUnreachable, "host-unreachable", 1, 3},
                                   {Cause::kRefusedOnPath, "refused-on-path", 1, 3},
                                   {Cause::kNoAnswer, "no-answer", 1, 3},
                                   {Cause::kUnknown, "unknown", 0, 0}};
  CHECK(chosen.size() == static_cast<size_t>(Cause::kCount));
  for (const Chosen& each : chosen) {
    CAPTURE(each.id);
    const CauseRow& row = cause_row(each.cause);
    CHECK(row.id == each.id);
    CHECK(row.answer.code4 == each.code4);
    CHECK(row.answer.code6 == each.code6);
  }
}

TEST_CASE("the line names port and protocol, and quotes ping of the guest's IP version") {
  const Reason reason{Cause::kNoDefaultRoute, ENETUNREACH, "fact", "cure"};
  CHECK(explain_line(ip("10.0.2.15"), {Protocol::kTcp, ip("8.8.8.8"), 443}, reason) ==
        "10.0.2.15 → 8.8.8.8:443 tcp: no route: fact. The guest is told \"Destination Net "
        "Unreachable\". Try: cure.");
  CHECK(explain_line(ip("fd00::15"), {Protocol::kUdp, ip("2001:db8::1"), 53}, reason) ==
        "fd00::15 → [2001:db8::1]:53 udp: no route: fact. The guest is told \"Destination "
        "unreachable: No route\". Try: cure.");
  CHECK(explain_line(ip("fd00::15"), echo("2001:db8::1"), {Cause::kUnknown, EPERM, "fact", ""}) ==
        "fd00::15 → 2001:db8::1 icmp echo: refused by the host: fact. The guest is told "
        "\"Destination unreachable: No route\".");
}
