// What the gateway says of packets that cannot go on, and how its book of reasons keeps count.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/unit/gateway_bed.h"

namespace {

using namespace tests;

Builder from_guest(const char* destination) {
  return Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", destination);
}

// The answer to a packet, and the reason that the gateway remembers for it.
struct Told {
  packets::Parsed answer;
  ReasonBook::Entry entry;
};

Told told(Bed& bed, const Builder& packet) {
  bed.take();
  bed.send(packet);
  bed.run();
  packets::Parsed answer = bed.only();
  REQUIRE_FALSE(bed.gateway.reasons().entries().empty());
  const ReasonBook::Entry& entry = bed.gateway.reasons().entries().back();
  REQUIRE(answer.icmp);
  REQUIRE(entry.icmp);
  CHECK(*entry.icmp == IcmpWords{answer.icmp->type, answer.icmp->code, answer.icmp->rest});
  CHECK(answer.transport_checksum_valid);
  return {answer, entry};
}

}  // namespace

TEST_CASE("a closed port is told in the name of the address that was asked") {
  Bed bed = make_bed();
  const Told closed = told(bed, from_guest("10.0.2.2").udp(4000, 9).payload("x"));
  CHECK(closed.answer.source() == packets::ip("10.0.2.2"));
  CHECK(closed.answer.icmp->code == kCodePort);
  CHECK(closed.entry.reason.cause == Cause::kPortClosed);
  CHECK(closed.entry.reason.fact == "nobody on this host listens at UDP port 9 of 127.0.0.1");
  const Told ours = told(bed, from_guest("10.0.2.3").udp(4000, 99).payload("x"));
  CHECK(ours.entry.reason.cause == Cause::kPortClosed);
  CHECK(ours.entry.reason.fact == "the gateway serves nothing at port 99 of 10.0.2.3");
}

TEST_CASE("a packet that must stay whole and is too big for the way") {
  Bed bed = make_bed();
  bed.send(Builder()
               .eth(kGuest, kGatewayMac6)
               .ip("fec0::15", "::1")
               .echo_request(1, 1)
               .payload_bytes(65'480));
  const auto answer = bed.only();
  REQUIRE(answer.icmp);
  CHECK(answer.icmp->type == kIcmpv6PacketTooBig);
  CHECK(answer.icmp->rest == Gateway::kMtu);
  const ReasonBook::Entry& entry = bed.gateway.reasons().entries().back();
  CHECK(entry.reason.cause == Cause::kPacketTooBig);
  CHECK(entry.told == "Packet too big: mtu=1500");
}

TEST_CASE("a hop limit that ends at the gateway") {
  Bed bed = make_bed();
  const Told four = told(bed, from_guest("127.0.0.9").ttl(1).udp(4000, 33434).payload("x"));
  CHECK(four.answer.icmp->type == kIcmpTimeExceeded);
  CHECK(four.answer.source() == packets::ip("10.0.2.2"));
  CHECK(four.entry.reason.cause == Cause::kHopLimit);
  told(bed, from_guest("127.0.0.9").ttl(1).udp(4000, 33435).payload("x"));
  CHECK(bed.log.lines.size() == 1);  // a traceroute is one flow
  const Told six = told(bed, Builder()
                                 .eth(kGuest, kGatewayMac6)
                                 .ip("fec0::15", "2001:db8::1")
                                 .ttl(1)
                                 .udp(4000, 33434)
                                 .payload("x"));
  CHECK(six.answer.icmp->type == kIcmpv6TimeExceeded);
  CHECK(six.answer.source() == packets::ip("fec0::2"));
}

TEST_CASE("a protocol that the gateway does not carry") {
  Bed bed = make_bed();
  const Told four = told(bed, from_guest("8.8.8.8").protocol(132).payload_bytes(20));
  CHECK(four.answer.icmp->code == kCodeProtocol);
  CHECK(four.entry.reason.cause == Cause::kProtocolUnsupported);
  CHECK(bed.log.lines.back().find("10.0.2.15 → 8.8.8.8 protocol 132: protocol not carried: ") == 0);
  const Told six = told(bed, Builder()
                                 .eth(kGuest, kGatewayMac6)
                                 .ip("fec0::15", "2001:db8::1")
                                 .protocol(132)
                                 .payload_bytes(20));
  CHECK(six.answer.icmp->type == kIcmpv6ParameterProblem);
  CHECK(six.answer.icmp->rest == 6);
}

TEST_CASE("an address of the LAN, sent to the gateway") {
  Bed bed = make_bed();
  const Told lan = told(bed, from_guest("10.0.2.99").echo_request(1, 1));
  CHECK(lan.answer.icmp->code == kCodeHost);
  CHECK(lan.entry.reason.cause == Cause::kOnLan);
}

TEST_CASE("what may not be answered is not told of either") {
  Bed bed = make_bed();
  bed.send(Builder().eth(kGuest, kGatewayMac).ip("0.0.0.0", "8.8.8.8").udp(4000, 53).payload("x"));
  CHECK(bed.take().empty());
  CHECK(bed.gateway.reasons().entries().empty());
}

// --- the book -----------------------------------------------------------------------------------

namespace {

struct Book {
  ManualClock clock;
  Loop loop{clock};
  TestLog log;
  ReasonBook book{loop, log};
  std::vector<std::string> heard;

  Book() {
    book.observe([this](const ReasonBook::Entry& entry, uint64_t unheard) {
      heard.push_back(to_string(entry.target.address) + " " + std::to_string(entry.count) +
                      (unheard != 0 ? " after " + std::to_string(unheard) : ""));
    });
  }
  void tell(uint32_t host, uint16_t port = 53, Cause cause = Cause::kNoDefaultRoute) {
    book.tell(packets::ip("10.0.2.15"), {Protocol::kUdp, IpAddress::v4(0x09000000 + host), port},
              {cause, ENETUNREACH, "fact", "cure"});
  }
  void wait(uint64_t ns) {
    clock.advance_ns(ns);
    loop.tick(0);
  }
};

}  // namespace

TEST_CASE("a flow is told once, and summarised when it comes again") {
  Book bed;
  for (int i = 0; i < 38; ++i) bed.tell(1);
  CHECK(bed.log.lines.size() == 1);
  CHECK(bed.heard == std::vector<std::string>{"9.0.0.1 1"});
  bed.wait(ReasonBook::kSummary_ns);
  REQUIRE(bed.log.lines.size() == 2);
  CHECK(bed.log.lines[1] == "10.0.2.15 → 9.0.0.1:53 udp: no route: … 37 more times");
  CHECK(bed.heard.back() == "9.0.0.1 38");
  bed.wait(10 * ReasonBook::kSummary_ns);
  CHECK(bed.log.lines.size() == 2);  // nothing new, nothing said
  bed.tell(1);
  bed.wait(ReasonBook::kSummary_ns);
  CHECK(bed.log.lines.back() == "10.0.2.15 → 9.0.0.1:53 udp: no route: … 1 more time");
  CHECK(bed.book.count(Cause::kNoDefaultRoute) == 39);
  CHECK(bed.book.entries().size() == 1);
}

TEST_CASE("what came again is summed up also when the gateway ends first") {
  ManualClock clock;
  Loop loop{clock};
  TestLog log;
  {
    ReasonBook book{loop, log};
    const Target target{Protocol::kUdp, packets::ip("9.0.0.1"), 53};
    const Reason reason{Cause::kNoDefaultRoute, ENETUNREACH, "fact", "cure"};
    for (int i = 0; i < 3; ++i) book.tell(packets::ip("10.0.2.15"), target, reason);
    CHECK(log.lines.size() == 1);
  }
  REQUIRE(log.lines.size() == 2);
  CHECK(log.lines[1] == "10.0.2.15 → 9.0.0.1:53 udp: no route: … 2 more times");
}

TEST_CASE("another cause is another entry, another port of a used-up hop limit is not") {
  Book bed;
  bed.tell(1);
  bed.tell(1, 54);
  bed.tell(1, 53, Cause::kRouteProhibit);
  bed.tell(1, 53, Cause::kHopLimit);
  bed.tell(1, 54, Cause::kHopLimit);
  CHECK(bed.book.entries().size() == 4);
  CHECK(bed.book.entries().back().count == 2);
}

TEST_CASE("a scan is bounded: entries, lines and calls") {
  Book bed;
  for (uint32_t i = 0; i < 3000; ++i) bed.tell(i);
  CHECK(bed.book.entries().size() == ReasonBook::kEntriesMax);
  CHECK(to_string(bed.book.entries().front().target.address) == "9.0.7.184");
  CHECK(bed.log.lines.size() == ReasonBook::kLinesMax);
  CHECK(bed.heard.size() == ReasonBook::kEventsMax);
  CHECK(bed.book.count(Cause::kNoDefaultRoute) == 3000);
  bed.wait(kThrottleWindow_ns);
  bed.tell(0);  // forgotten: said anew
  CHECK(bed.heard.back() == "9.0.0.0 1 after 2800");
}

TEST_CASE("an entry that makes room is the one told of longest ago") {
  Book bed;
  for (uint32_t i = 0; i < ReasonBook::kEntriesMax; ++i) bed.tell(i);
  bed.tell(0);
  bed.tell(5000);
  CHECK(to_string(bed.book.entries().front().target.address) == "9.0.0.2");
  bed.tell(0);
  CHECK(bed.book.entries().back().count == 3);
}
