// The table of causes, and the line of the log that is made from it.
#include <doctest/doctest.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/reachability/cause_table.h"
#include "netstack/reachability/reachability.h"

using namespace netstack;

namespace {

IpAddress ip(std::string_view text) {
  return *IpAddress::parse(text);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
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
    CHECK_FALSE(row.when.empty());
    CHECK_FALSE(row.cure.empty());
    if (!row.answer.told) continue;
    CHECK(icmp_phrase(false, {row.answer.type4, row.answer.code4}).find("ICMP type") ==
          std::string::npos);
    CHECK(icmp_phrase(true, {row.answer.type6, row.answer.code6}).find("ICMPv6 type") ==
          std::string::npos);
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
                                   {Cause::kFixedOutputOffline, "fixed-output-offline", 0, 0},
                                   {Cause::kNoDefaultRoute, "no-default-route", 0, 0},
                                   {Cause::kProxyOnly, "proxy-only", 0, 0},
                                   {Cause::kIpv6Only, "ipv6-only", 0, 0},
                                   {Cause::kRouteUnreachable, "route-unreachable", 1, 3},
                                   {Cause::kRouteProhibit, "route-prohibit", 13, 1},
                                   {Cause::kRouteBlackhole, "route-blackhole", 1, 3},
                                   {Cause::kCarrierLost, "carrier-lost", 1, 3},
                                   {Cause::kNeighbourDead, "neighbour-dead", 1, 3},
                                   {Cause::kHostUnreachable, "host-unreachable", 1, 3},
                                   {Cause::kNoAnswer, "no-answer", 1, 3},
                                   {Cause::kPingNotPermitted, "ping-not-permitted", 13, 1},
                                   {Cause::kSocketsForbidden, "sockets-forbidden", 13, 1},
                                   {Cause::kDescriptorsExhausted, "descriptors-exhausted", 1, 3},
                                   {Cause::kPortsExhausted, "ports-exhausted", 1, 3},
                                   {Cause::kFirewallDrops, "firewall-drops", 13, 1},
                                   {Cause::kFirewallRejects, "firewall-rejects", 13, 1},
                                   {Cause::kRemoteProhibited, "remote-prohibited", 13, 1},
                                   {Cause::kRefusedOnPath, "refused-on-path", 1, 3},
                                   {Cause::kPortClosed, "port-closed", 3, 4},
                                   {Cause::kPacketTooBig, "packet-too-big", 4, 0},
                                   {Cause::kHopLimit, "hop-limit", 0, 0},
                                   {Cause::kProtocolUnsupported, "protocol-unsupported", 2, 1},
                                   {Cause::kOnLan, "on-lan", 1, 3},
                                   {Cause::kPolicyDenied, "policy-denied", 13, 1},
                                   {Cause::kRestricted, "restricted", 13, 1},
                                   {Cause::kFlowLimit, "flow-limit", 13, 1},
                                   {Cause::kNoNameserver, "no-nameserver", 3, 4},
                                   {Cause::kNameserverUnrouted, "nameserver-unrouted", 3, 4},
                                   {Cause::kNameserverRefuses, "nameserver-refuses", 3, 4},
                                   {Cause::kStubResolver, "stub-resolver", 3, 4},
                                   {Cause::kNameserverSilent, "nameserver-silent", 1, 3},
                                   {Cause::kUnknown, "unknown", 0, 0}};
  // Those after "nameserver-silent" are told to no guest.
  CHECK(chosen.size() + 8 == kCauseCount);
  for (const Chosen& each : chosen) {
    CAPTURE(each.id);
    const CauseRow& row = cause_row(each.cause);
    CHECK(row.id == each.id);
    CHECK(row.answer.told);
    CHECK(row.answer.code4 == each.code4);
    CHECK(row.answer.code6 == each.code6);
  }
  for (const char* id : {"guest-refuses", "forward-unanswered", "no-lease", "no-guest-route",
                         "wrong-vlan", "duplicate-mac", "duplicate-ip", "plug-dead"}) {
    CAPTURE(id);
    bool found = false;
    for (size_t at = 0; at < kCauseCount; ++at) {
      const CauseRow& row = cause_row(static_cast<Cause>(at));
      if (row.id == id) found = !row.answer.told;
    }
    CHECK(found);
  }
}

TEST_CASE("the row's error, or the words of somebody else") {
  CHECK(told_to_guest({Cause::kHopLimit, 0, "", ""}, false) == "Time to live exceeded");
  CHECK(told_to_guest({Cause::kHopLimit, 0, "", ""}, true) == "Time exceeded: Hop limit");
  CHECK(told_to_guest({Cause::kNoLease, 0, "", ""}, false) == "nothing");
  CHECK_FALSE(words_for({Cause::kNoLease, 0, "", ""}, false));
  Reason reason{Cause::kRefusedOnPath, EHOSTUNREACH, "", "", IcmpWords{1, 6, 0}};
  CHECK(told_to_guest(reason, true) == "Destination unreachable: Reject route");
  reason.said = too_big_words(false, 1400);
  CHECK(told_to_guest(reason, false) == "Frag needed and DF set (mtu = 1400)");
  reason.said = too_big_words(true, 70'000);
  CHECK(told_to_guest(reason, true) == "Packet too big: mtu=70000");
  CHECK(icmp_phrase(false, {3, 99, 0}) == "ICMP type 3 code 99");
  CHECK(icmp_phrase(true, {99, 1, 0}) == "ICMPv6 type 99 code 1");
  CHECK(icmp_phrase(false, {12, 0, 0x14000000}) == "Parameter problem: pointer = 20");
}

// --- the documentation --------------------------------------------------------------------------

TEST_CASE("CAUSES.md is what the code says") {
  const std::string path = LANYARD_SOURCE_DIR "/netstack/reachability/CAUSES.md";
  INFO("write it anew: lanyard doctor --causes > " << path);
  CHECK(read_file(path) == causes_as_markdown());
}

// "tests/system/x.py Class.test" or "tests/unit/x.cc name of the test case".
TEST_CASE("the test that shows a cause exists") {
  for (size_t at = 0; at < kCauseCount; ++at) {
    const CauseRow& row = cause_row(static_cast<Cause>(at));
    CAPTURE(row.id);
    if (row.proof.empty()) continue;
    const size_t space = row.proof.find(' ');
    REQUIRE(space != std::string_view::npos);
    const std::string path(row.proof.substr(0, space));
    const std::string name(row.proof.substr(space + 1));
    CAPTURE(row.proof);
    const std::string text = read_file(LANYARD_SOURCE_DIR "/" + path);
    REQUIRE_FALSE(text.empty());
    if (path.ends_with(".cc")) {
      CHECK(text.find("TEST_CASE(\"" + name + "\")") != std::string::npos);
      continue;
    }
    const size_t dot = name.find('.');
    REQUIRE(dot != std::string::npos);
    const size_t in_class = text.find("\nclass " + name.substr(0, dot) + "(");
    REQUIRE(in_class != std::string::npos);
    const size_t method = text.find("\n    def " + name.substr(dot + 1) + "(self", in_class);
    REQUIRE(method != std::string::npos);
    CHECK(text.find("\nclass ", in_class + 1) > method);
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
