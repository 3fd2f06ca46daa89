// DHCP, DHCPv6, DNS and router advertisements as guests meet them: frames in, frames out.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "netstack/wire/dhcpv6.h"
#include "tests/unit/names_bed.h"

using namespace tests;

namespace {

void check_port_unreachable(const Parsed& frame, const IpAddress& from) {
  REQUIRE(frame.icmp);
  CHECK(frame.icmp->type == (from.v6 ? kIcmpv6Unreachable : kIcmpUnreachable));
  CHECK(frame.icmp->code == (from.v6 ? 4 : 3));
  CHECK(frame.transport_checksum_valid);
  CHECK(frame.source() == from);
}

// Why the account says that questions for `name` failed.
std::map<Cause, uint64_t> failures(NamesBed& bed, const char* name) {
  const EgressBook report = bed.gateway->flows().report();
  const auto found = report.rows().find({name, 0, Protocol::kUdp, true});
  if (found == report.rows().end()) return {};
  CHECK(found->second.count(FlowState::kUnreachable) == found->second.flows_count);
  return found->second.causes;
}

}  // namespace

TEST_CASE("DHCP by frames: offer, ack, renewal, nak, and the name in the DNS") {
  NamesBed bed;
  Dhcp message;
  message.client_mac = packets::mac(kGuest).octets;
  message.hostname = "Web";
  bed.send(bed.dhcp(message));
  Parsed frame = bed.only();
  CHECK(frame.eth->destination == packets::mac(kGuest));
  CHECK(frame.eth->source == packets::mac(kGatewayMac));
  CHECK(frame.source() == ip("10.0.2.2"));
  CHECK(frame.destination() == ip("10.0.2.15"));
  CHECK(frame.udp->destination_port == 68);
  CHECK(frame.transport_checksum_valid);
  CHECK(bed.answer(dns_query("web.lan")).rcode == kDnsNameError);  // offered, not taken

  message.type = DhcpType::kRequest;
  message.requested_ip = ip("10.0.2.15");
  message.broadcast = true;
  bed.send(bed.dhcp(message));
  frame = bed.only();
  CHECK(frame.eth->destination == kBroadcast);
  CHECK(parse_dhcp(frame.udp->payload)->hostname == "web");
  CHECK(bed.answer(dns_query("web.lan")).addresses == std::vector{ip("10.0.2.15")});
  CHECK(bed.answer(dns_query("WEB")).addresses == std::vector{ip("10.0.2.15")});

  message.requested_ip.reset();
  message.client_ip = ip("10.0.2.15");
  bed.send(bed.dhcp(message, "10.0.2.15", "10.0.2.2"));
  frame = bed.only();
  CHECK(parse_dhcp(frame.udp->payload)->type == DhcpType::kAck);
  CHECK(frame.destination() == ip("10.0.2.15"));

  message.client_ip = ip("10.0.2.2");
  bed.send(bed.dhcp(message));
  frame = bed.only();
  CHECK(parse_dhcp(frame.udp->payload)->type == DhcpType::kNak);
  CHECK(frame.eth->destination == kBroadcast);
  CHECK(bed.gateway->names().leases().find(packets::mac(kGuest))->name == "web");
}

TEST_CASE("damaged DHCP and DNS packets are dropped and counted") {
  NamesBed bed;
  Dhcp message;
  message.client_mac = packets::mac(kGuest).octets;
  const Bytes query = dns_query("gateway.lan");
  const auto dns = [] {
    return Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.3").udp(4000, 53);
  };
  bed.send(bed.dhcp(message).wrong_checksum());
  bed.send(dns().payload(query).wrong_checksum());
  bed.send(dns().payload("?"));
  bed.send(dns().payload(dns_answer(query, "192.0.2.1")));
  bed.send(
      Builder().eth(kGuest, kEverybody).ip("0.0.0.0", "255.255.255.255").udp(68, 67).payload("x"));
  CHECK(bed.dropped(DropReason::kMalformed) == 5);
  bed.send(Builder()
               .eth(kGuest, kGatewayMac)
               .ip("10.0.2.15", "10.0.2.3")
               .fragment(0, true)
               .udp(4000, 53)
               .payload(query));
  CHECK(bed.dropped(DropReason::kMalformed) == 5);  // it waits for the other half
  CHECK(bed.guest.frames.empty());
  CHECK(bed.gateway->names().dhcp_counters().malformed == 1);
  Bytes update = query;
  update[2] = 0x28;
  CHECK(bed.answer(update).rcode == kDnsNotImplemented);
}

TEST_CASE("questions reach the nameservers of resolv.conf, and follow it when it changes") {
  NamesBed bed("nameserver 127.0.0.1\nnameserver 127.0.0.2\n");
  FakeNameserver two(bed.loop, "127.0.0.2", saying("192.0.2.2"));
  FakeNameserver three(bed.loop, "127.0.0.3", saying("192.0.2.3"));
  CHECK(bed.answer(dns_query("example.com")).addresses == std::vector{ip("192.0.2.2")});
  CHECK(bed.answer(dns_query("example.com"), true).addresses == std::vector{ip("192.0.2.2")});
  bed.resolv.write("nameserver 127.0.0.3\n");
  CHECK(bed.answer(dns_query("example.com")).addresses == std::vector{ip("192.0.2.3")});
  bed.resolv.write("nameserver 127.0.0.2\n");  // as long, and within the same moment
  CHECK(bed.answer(dns_query("example.com")).addresses == std::vector{ip("192.0.2.2")});
  CHECK(bed.log.lines.empty());
}

TEST_CASE("zones and hosts") {
  NamesConfig names;
  names.domain = "lab.test";
  names.hosts.push_back(HostEntry::parse("mirror.example.org=10.0.2.9"));
  names.zones.push_back(DnsZone::parse("corp=127.0.0.2"));
  NamesBed bed("nameserver 127.0.0.1\n", names);
  FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.1"));
  FakeNameserver two(bed.loop, "127.0.0.2", saying("192.0.2.2"));
  CHECK(bed.answer(dns_query("mirror.example.org")).addresses == std::vector{ip("10.0.2.9")});
  CHECK(bed.answer(dns_query("a.corp")).addresses == std::vector{ip("192.0.2.2")});
  CHECK(bed.answer(dns_query("a.example.org")).addresses == std::vector{ip("192.0.2.1")});
  CHECK(bed.answer(dns_query("gateway.lab.test")).addresses == std::vector{ip("10.0.2.2")});
  CHECK(one.queries.size() == 1);
  CHECK(two.queries.size() == 1);
}

TEST_CASE("no nameserver: the guest's resolver fails at once, and knows the LAN's names") {
  NamesBed bed;
  bed.lease("web");
  check_port_unreachable(bed.ask(dns_query("example.com")), ip("10.0.2.3"));
  check_port_unreachable(bed.ask(dns_query("example.com"), true), ip("fec0::3"));
  REQUIRE(bed.log.lines.size() == 2);
  CHECK(bed.log.lines[0] ==
        fmt::format("10.0.2.15 → 10.0.2.3:53 udp: no nameserver: {} names no nameserver. The guest "
                    "is told \"Destination Port Unreachable\". Try: write \"nameserver ADDRESS\" "
                    "into {}.",
                    bed.resolv.path, bed.resolv.path));
  CHECK(failures(bed, "example.com") == std::map<Cause, uint64_t>{{Cause::kNoNameserver, 2}});
  CHECK(bed.answer(dns_query("web.lan")).addresses.size() == 1);
  CHECK(bed.answer(dns_query("other.lan")).rcode == kDnsNameError);
  CHECK(bed.log.lines.size() == 2);
}

TEST_CASE("nameservers that refuse, have no route, or are silent") {
  SUBCASE("refuse") {
    NamesBed bed("nameserver 127.0.0.1\nnameserver 127.0.0.2\n");
    check_port_unreachable(bed.ask(dns_query("example.com")), ip("10.0.2.3"));
    REQUIRE(bed.log.lines.size() == 1);
    CHECK(bed.log.lines[0].find(
              fmt::format("stub resolver out of reach: nobody listens at 127.0.0.1 of {} "
                          "(ECONNREFUSED)",
                          bed.resolv.path)) != std::string::npos);
  }
  SUBCASE("have no route") {
    NamesBed bed("nameserver 192.0.2.53\n");
    check_port_unreachable(bed.ask(dns_query("example.com")), ip("10.0.2.3"));
    REQUIRE(bed.log.lines.size() == 1);
    CHECK(bed.log.lines[0].find(fmt::format("no route to the nameserver: 192.0.2.53 of {}: this "
                                            "network namespace has only \"lo\"",
                                            bed.resolv.path)) != std::string::npos);
    CHECK(failures(bed, "example.com") ==
          std::map<Cause, uint64_t>{{Cause::kNameserverUnrouted, 1}});
  }
  SUBCASE("are silent") {
    NamesBed bed("nameserver 127.0.0.1\n");
    FakeNameserver one(bed.loop, "127.0.0.1", [](const Bytes&) { return std::vector<Bytes>{}; });
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac)
                 .ip("10.0.2.15", "10.0.2.3")
                 .udp(4000, 53)
                 .payload(dns_query("example.com")));
    for (int i = 0; i < 10; ++i) {
      bed.clock.advance_ns(500 * kMillisecond_ns);
      bed.run();
    }
    std::erase_if(bed.guest.frames, [](const Bytes& frame) { return frame[0] == 0x33; });  // RAs
    const Parsed frame = bed.only();
    REQUIRE(frame.udp);
    CHECK(parse_dns(frame.udp->payload)->rcode == kDnsServerFailure);
    REQUIRE(bed.log.lines.size() == 1);
    CHECK(bed.log.lines[0].find(fmt::format("nameserver silent: 127.0.0.1 of {} did not answer in "
                                            "4 s. The guest is told \"SERVFAIL\"",
                                            bed.resolv.path)) != std::string::npos);
    CHECK(failures(bed, "example.com") == std::map<Cause, uint64_t>{{Cause::kNameserverSilent, 1}});
  }
  SUBCASE("of a zone") {
    NamesConfig names;
    names.zones.push_back(DnsZone::parse("corp=127.0.0.9:5353"));
    NamesBed bed("", names);
    check_port_unreachable(bed.ask(dns_query("a.corp")), ip("10.0.2.3"));
    REQUIRE(bed.log.lines.size() == 1);
    CHECK(bed.log.lines[0].find("nobody listens at 127.0.0.9 of --zone corp=127.0.0.9:5353") !=
          std::string::npos);
  }
}

TEST_CASE("long answers: fragments over IPv4, \"come by TCP\" where the guest takes less") {
  NamesBed bed("nameserver 127.0.0.1\n");
  FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.1", {.padding_records = 10}));
  const Bytes query = with_edns(dns_query("example.com"), 4096);
  bed.send(
      Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.3").udp(4000, 53).payload(query));
  CHECK(bed.guest.frames.size() == 2);
  bed.guest.frames.clear();
  const Dns small = bed.answer(dns_query("example.com"));
  CHECK(small.truncated);
  CHECK(small.addresses.empty());
  CHECK(bed.answer(query, true).truncated);  // it would not fit one packet
}

TEST_CASE("router advertisements name the nameserver, the search list and the MTU") {
  NamesConfig names;
  names.mtu = 1400;
  NamesBed bed("", names);
  bed.clock.advance_ns(1000 * kSecond_ns);
  bed.run();
  std::erase_if(bed.guest.frames, [](const Bytes& frame) { return frame[0] != 0x33; });
  REQUIRE(bed.guest.frames.size() >= 1);
  const Parsed frame = packets::parse_frame(bed.guest.frames[0]);
  REQUIRE(frame.icmp);
  CHECK(frame.icmp->type == kIcmpv6RouterAdvertisement);
  CHECK(frame.transport_checksum_valid);
  const Bytes& bytes = bed.guest.frames[0];
  const std::string text(bytes.begin(), bytes.end());
  const auto has = [&](std::initializer_list<uint8_t> piece) {
    return text.find(std::string(piece.begin(), piece.end())) != std::string::npos;
  };
  CHECK(has({5, 1, 0, 0, 0, 0, 0x05, 0x78}));  // MTU 1400
  CHECK(has({25, 3, 0, 0, 0, 1, 0x51, 0x80, 0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3}));
  CHECK(has({31, 2, 0, 0, 0, 1, 0x51, 0x80, 3, 'l', 'a', 'n', 0, 0, 0, 0}));
  CHECK(has({3, 4, 64}));  // fec0::/64
}

TEST_CASE("stateless DHCPv6") {
  NamesBed bed;
  const std::vector<uint8_t> id = make_duid(packets::mac(kGuest).octets);
  const auto send = [&](const Dhcpv6& message) {
    bed.send(Builder()
                 .eth(kGuest, "33:33:00:01:00:02")
                 .ip("fe80::15", "ff02::1:2")
                 .udp(546, 547)
                 .payload(make_dhcpv6(message)));
  };
  Dhcpv6 request;
  request.transaction = 0xabcdef;
  request.client_id = id;
  send(request);
  const Parsed frame = bed.only();
  REQUIRE(frame.udp);
  CHECK(frame.transport_checksum_valid);
  CHECK(frame.source() == ip("fe80::2"));
  CHECK(frame.destination() == ip("fe80::15"));
  CHECK(frame.udp->destination_port == 546);
  const auto reply = parse_dhcpv6(frame.udp->payload);
  REQUIRE(reply);
  CHECK(reply->type == Dhcpv6Type::kReply);
  CHECK(reply->transaction == 0xabcdef);
  CHECK(std::ranges::equal(reply->client_id, id));
  CHECK(reply->dns == ip("fec0::3"));
  const Bytes lan = {3, 'l', 'a', 'n', 0};
  CHECK(std::ranges::equal(reply->search, lan));

  request.server_id = id;  // another server's
  send(request);
  request.server_id = {};
  request.type = static_cast<Dhcpv6Type>(1);  // SOLICIT: it wants an address
  send(request);
  CHECK(bed.guest.frames.empty());
  CHECK(bed.dropped(DropReason::kUnsupported) == 2);
  bed.send(Builder()
               .eth(kGuest, "33:33:00:01:00:02")
               .ip("fe80::15", "ff02::1:2")
               .udp(546, 547)
               .payload("x"));
  CHECK(bed.dropped(DropReason::kMalformed) == 1);
}
