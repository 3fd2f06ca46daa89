// What is built on top of the headers: ICMP answers and when they may be sent, urgent data, DHCP,
// DNS; and the packet builder and matchers that other tests rely on.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/checksum.h"
#include "netstack/wire/dhcp.h"
#include "netstack/wire/dns.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/tcp.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Builder;
using packets::Bytes;
using packets::describe;
using packets::ip;
using packets::parse_ip;

namespace {

constexpr std::string_view kGuest = "10.0.2.15";
constexpr std::string_view kGateway = "10.0.2.2";
constexpr std::string_view kRemote = "192.0.2.7";
constexpr std::string_view kGuest6 = "2001:db8::15";
constexpr std::string_view kRemote6 = "2001:db8:1::7";

Bytes icmp_with_type(std::string_view source, std::string_view destination, uint8_t type) {
  Builder builder = Builder().ip(source, destination).echo_request(1, 1);
  Bytes packet = builder.build_ip();
  packet[ip(source).v6 ? 40 : 20] = type;
  return packet;
}

Bytes labels(std::initializer_list<std::string_view> names) {
  Bytes bytes;
  for (const std::string_view name : names) {
    bytes.push_back(static_cast<uint8_t>(name.size()));
    bytes.insert(bytes.end(), name.begin(), name.end());
  }
  return bytes;
}

// A DNS message with one question whose name is `name` as it goes on the wire.
Bytes dns_question(const Bytes& name) {
  Bytes message(kDnsHeadBytes);
  message[5] = 1;
  message.insert(message.end(), name.begin(), name.end());
  message.insert(message.end(), {0, 1, 0, 1});
  return message;
}

}  // namespace

TEST_CASE("echo: what is made is read, of either family") {
  const Bytes payload{'a', 'b', 'c'};
  for (const auto& [from, to] : {std::pair{kGuest, kRemote}, {kGuest6, kRemote6}}) {
    for (const bool reply : {false, true}) {
      const Bytes packet = make_icmp_echo(ip(from), ip(to), 7, reply, 0xabcd, 0x1234, payload);
      const packets::Parsed parsed = parse_ip(packet);
      REQUIRE(parsed.icmp);
      REQUIRE(parsed.icmp->echo);
      CHECK(parsed.transport_checksum_valid);
      CHECK(parsed.source() == ip(from));
      CHECK(parsed.destination() == ip(to));
      CHECK((parsed.ipv4 ? parsed.ipv4->ttl : parsed.ipv6->hop_limit) == 7);
      CHECK(parsed.icmp->echo->reply == reply);
      CHECK(parsed.icmp->echo->id == 0xabcd);
      CHECK(parsed.icmp->echo->seq == 0x1234);
      CHECK(parsed.text() == "abc");
    }
  }
}

TEST_CASE("echo: other types, other codes and the other family are not echo") {
  Bytes message(kIcmpHeadBytes);
  for (int type = 0; type < 256; ++type) {
    CAPTURE(type);
    message[0] = static_cast<uint8_t>(type);
    message[1] = 0;
    CHECK(parse_icmp_echo(message, false).has_value() == (type == 0 || type == 8));
    CHECK(parse_icmp_echo(message, true).has_value() == (type == 128 || type == 129));
    message[1] = 1;
    CHECK_FALSE(parse_icmp_echo(message, false));
    CHECK_FALSE(parse_icmp_echo(message, true));
  }
}

TEST_CASE("errors quote the packet without its padding") {
  Bytes offending = Builder().ip(kGuest, kRemote).udp(1, 2).payload("who").build_ip();
  const Bytes unpadded = offending;
  offending.resize(offending.size() + 15);
  const Bytes packet = make_icmp_error(ip(kGateway), ip(kGuest), kIcmpUnreachable, 4,
                                       1400 /* next-hop MTU */, offending);
  const packets::Parsed parsed = parse_ip(packet);
  REQUIRE(parsed.icmp);
  CHECK(parsed.transport_checksum_valid);
  CHECK(parsed.icmp->type == kIcmpUnreachable);
  CHECK(parsed.icmp->code == 4);
  CHECK(parsed.icmp->rest == 1400);
  CHECK(Bytes(parsed.icmp->quote.begin(), parsed.icmp->quote.end()) == unpadded);
}

TEST_CASE("errors are as long as their family allows and no longer") {
  const Bytes big4 = Builder().ip(kGuest, kRemote).udp(1, 2).payload_bytes(2000).build_ip();
  const Bytes error4 = make_icmp_error(ip(kGateway), ip(kGuest), kIcmpTimeExceeded, 0, 0, big4);
  CHECK(error4.size() == 576);
  CHECK(parse_ip(error4).transport_checksum_valid);
  CHECK(std::equal(error4.begin() + 28, error4.end(), big4.begin()));

  const Bytes big6 = Builder().ip(kGuest6, kRemote6).udp(1, 2).payload_bytes(2000).build_ip();
  const Bytes error6 =
      make_icmp_error(ip("fe80::2"), ip(kGuest6), kIcmpv6PacketTooBig, 0, 1400, big6, 255);
  CHECK(error6.size() == 1280);
  const packets::Parsed parsed = parse_ip(error6);
  CHECK(parsed.transport_checksum_valid);
  CHECK(parsed.ipv6->hop_limit == 255);
  CHECK(parsed.icmp->type == kIcmpv6PacketTooBig);
  CHECK(parsed.icmp->rest == 1400);

  const Bytes scrap{1, 2, 3};  // not a packet at all: quoted as it is
  CHECK(make_icmp_error(ip(kGateway), ip(kGuest), kIcmpUnreachable, 0, 0, scrap).size() == 31);
}

TEST_CASE("which packets may be answered with an error") {
  struct Case {
    const char* what;
    Bytes packet;
    bool allowed;
  };
  const auto udp = [](std::string_view from, std::string_view to) {
    return Builder().ip(from, to).udp(1, 2).build_ip();
  };
  const auto fragment = [](uint16_t offset) {
    return Builder()
        .ip(kGuest, kRemote)
        .protocol(17)
        .fragment(offset, true)
        .payload("x")
        .build_ip();
  };
  const std::vector<Case> cases{
      {"plain", udp(kGuest, kRemote), true},
      {"to a multicast group", udp(kGuest, "224.0.0.251"), false},
      {"to everybody", udp(kGuest, "255.255.255.255"), false},
      {"from nobody", udp("0.0.0.0", kRemote), false},
      {"from loopback", udp("127.0.0.1", kRemote), false},
      {"from a group", udp("224.0.0.1", kRemote), false},
      {"from everybody", udp("255.255.255.255", kRemote), false},
      {"first fragment", fragment(0), true},
      {"later fragment", fragment(8), false},
      {"echo request", icmp_with_type(kGuest, kRemote, kIcmpEchoRequest), true},
      {"timestamp request", icmp_with_type(kGuest, kRemote, 13), true},
      {"unreachable", icmp_with_type(kGuest, kRemote, kIcmpUnreachable), false},
      {"source quench", icmp_with_type(kGuest, kRemote, kIcmpSourceQuench), false},
      {"redirect", icmp_with_type(kGuest, kRemote, kIcmpRedirect), false},
      {"time exceeded", icmp_with_type(kGuest, kRemote, kIcmpTimeExceeded), false},
      {"parameter problem", icmp_with_type(kGuest, kRemote, kIcmpParameterProblem), false},
      {"unknown type", icmp_with_type(kGuest, kRemote, 200), false},
      {"ICMP without a type", Builder().ip(kGuest, kRemote).protocol(1).build_ip(), false},
      {"plain 6", udp(kGuest6, kRemote6), true},
      {"to a group 6", udp(kGuest6, "ff02::1"), false},
      {"from nobody 6", udp("::", kRemote6), false},
      {"from a group 6", udp("ff02::1", kRemote6), false},
      {"echo request 6", icmp_with_type(kGuest6, kRemote6, kIcmpv6EchoRequest), true},
      {"unreachable 6", icmp_with_type(kGuest6, kRemote6, kIcmpv6Unreachable), false},
      {"an error of tomorrow 6", icmp_with_type(kGuest6, kRemote6, 127), false},
      {"redirect 6", icmp_with_type(kGuest6, kRemote6, kIcmpv6Redirect), false},
      {"nothing", {}, false},
  };
  for (const Case& c : cases) CHECK_MESSAGE(may_answer_with_error(c.packet) == c.allowed, c.what);

  for (const uint8_t type : {kIcmpUnreachable, kIcmpTimeExceeded}) {  // nor our own answers
    const Bytes error = make_icmp_error(ip(kGateway), ip(kGuest), type, 0, 0, cases[0].packet);
    CHECK_FALSE(may_answer_with_error(error));
  }
}

TEST_CASE("clear_urgent leaves a right checksum right and a wrong one wrong") {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    const bool v6 = random() % 2 == 0;
    Builder builder = Builder().ip(v6 ? kGuest6 : kGuest, v6 ? kRemote6 : kRemote);
    builder.tcp(static_cast<uint16_t>(random()), 80, static_cast<uint8_t>(random() & ~kTcpUrg),
                static_cast<uint32_t>(random()), static_cast<uint32_t>(random()));
    builder.urgent(static_cast<uint16_t>(random())).payload_bytes(random() % 20);
    const bool right = random() % 4 != 0;
    if (!right) builder.wrong_checksum();
    Bytes packet = builder.build_ip();
    const Bytes before = packet;
    const size_t head = v6 ? 40 : 20;
    REQUIRE(clear_urgent(std::span(packet).subspan(head)));
    const packets::Parsed parsed = parse_ip(packet);
    REQUIRE(parsed.tcp);
    CHECK((parsed.tcp->flags & kTcpUrg) == 0);
    CHECK(parsed.tcp->urgent == 0);
    CHECK(parsed.transport_checksum_valid == right);
    packet[head + 13] = before[head + 13];  // but for flags, checksum and pointer: as it was
    std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(head) + 16, 4,
                packet.begin() + static_cast<std::ptrdiff_t>(head) + 16);
    CHECK(packet == before);
  }
}

TEST_CASE("clear_urgent: nothing to do, half to do, too short") {
  Bytes plain = Builder().ip(kGuest, kRemote).tcp(1, 2, kTcpAck).build_ip();
  const Bytes before = plain;
  CHECK_FALSE(clear_urgent(std::span(plain).subspan(20)));
  CHECK(plain == before);

  Bytes pointer_alone = Builder().ip(kGuest, kRemote).tcp(1, 2, kTcpAck).urgent(9).build_ip();
  pointer_alone[20 + 13] = kTcpAck;
  CHECK(clear_urgent(std::span(pointer_alone).subspan(20)));
  CHECK(parse_ip(pointer_alone).tcp->urgent == 0);

  Bytes urgent = Builder().ip(kGuest, kRemote).tcp(1, 2, kTcpAck).urgent(9).build_ip();
  CHECK_FALSE(clear_urgent(std::span(urgent).subspan(20, 19)));
}

TEST_CASE("DHCP: what is made is read") {
  Dhcp offer;
  offer.type = DhcpType::kOffer;
  offer.from_server = true;
  offer.broadcast = true;
  offer.xid = 0xdeadbeef;
  offer.client_mac = packets::mac("52:54:00:12:34:56").octets;
  offer.client_ip = ip("10.0.2.9");
  offer.your_ip = offer.requested_ip.emplace(ip(kGuest));
  offer.server_id = ip(kGateway);
  offer.router = ip("10.0.2.1");
  offer.subnet_mask = ip("255.255.255.0");
  offer.dns = ip("10.0.2.3");
  offer.lease_seconds = 86'400;
  offer.hostname = "guest";
  const Bytes message = make_dhcp(offer);
  CHECK(message.size() == kDhcpMessageBytesMin);
  CHECK(read_u32(&message[236]) == 0x63825363);  // RFC 2131 §3

  const auto read = parse_dhcp(message);
  REQUIRE(read);
  CHECK(read->type == DhcpType::kOffer);
  CHECK(read->from_server);
  CHECK(read->broadcast);
  CHECK(read->xid == 0xdeadbeef);
  CHECK(read->client_mac == offer.client_mac);
  CHECK(read->client_ip == offer.client_ip);
  CHECK(read->your_ip == offer.your_ip);
  CHECK(read->requested_ip == offer.requested_ip);
  CHECK(read->server_id == offer.server_id);
  CHECK(read->router == offer.router);
  CHECK(read->subnet_mask == offer.subnet_mask);
  CHECK(read->dns == offer.dns);
  CHECK(read->lease_seconds == 86'400);
  CHECK(read->hostname == "guest");
}

TEST_CASE("DHCP: options by hand") {
  Bytes head = make_dhcp({});
  head.resize(kDhcpHeadBytes);
  const auto with = [&](const Bytes& options) {
    Bytes message = head;
    message.insert(message.end(), options.begin(), options.end());
    return message;
  };
  CHECK(parse_dhcp(with({0, 0, 53, 1, 3, 255})));         // padding in front
  CHECK(parse_dhcp(with({53, 1, 3})));                    // no end: forgiven
  CHECK_FALSE(parse_dhcp(with({255, 53, 1, 3})));         // nothing counts behind the end
  CHECK_FALSE(parse_dhcp(with({})));                      // BOOTP, not DHCP
  CHECK_FALSE(parse_dhcp(with({53, 2, 1, 1, 255})));      // a type of two bytes is none
  CHECK_FALSE(parse_dhcp(with({53, 1, 3, 12, 5, 'a'})));  // leaves the message
  CHECK_FALSE(parse_dhcp(with({53, 1, 3, 12})));          // no room for its length
  const Bytes two_servers = with({53, 1, 5, 6, 8, 10, 0, 2, 3, 10, 0, 2, 4, 54, 3, 1, 2, 3, 255});
  const auto read = parse_dhcp(two_servers);
  REQUIRE(read);
  CHECK(read->dns == ip("10.0.2.3"));
  CHECK_FALSE(read->server_id);  // three bytes are no address
  CHECK_FALSE(read->lease_seconds);
  for (const size_t at : {0, 1, 2, 236}) {
    Bytes other = two_servers;
    other[at] = 9;
    CHECK_FALSE(parse_dhcp(other));
  }
  const std::string long_name(70, 'x');
  CHECK(parse_dhcp(make_dhcp({.hostname = long_name}))->hostname.size() == kDhcpHostnameBytesMax);
}

TEST_CASE("DNS: a query stands where RFC 1035 §4.1 puts it") {
  const auto query = make_dns_query("a.example.", DnsType::kAaaa, 0xbeef);
  REQUIRE(query);
  CHECK(*query == Bytes{0xbe, 0xef, 1,   0,   0,   1,   0,   0,   0, 0, 0,  0, 1, 'a',
                        7,    'e',  'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 28, 0, 1});
  const auto read = parse_dns(*query);
  REQUIRE(read);
  CHECK(read->question == "a.example");
  CHECK(read->question_type == 28);
  CHECK_FALSE(read->response);
  CHECK(read->addresses.empty());
}

TEST_CASE("DNS: names that cannot be asked for") {
  const std::string label(63, 'x');
  const std::string three = label + '.' + label + '.' + label + '.';
  CHECK(make_dns_query(label, DnsType::kA, 1));
  CHECK_FALSE(make_dns_query(label + 'x', DnsType::kA, 1));
  CHECK(make_dns_query(three + std::string(61, 'x'), DnsType::kA, 1));
  CHECK_FALSE(make_dns_query(three + std::string(62, 'x'), DnsType::kA, 1));
  CHECK(make_dns_query(".", DnsType::kA, 1));
  for (const std::string name : {"", "..", "a..", ".a", "a..b"}) {
    CHECK_MESSAGE(!make_dns_query(name, DnsType::kA, 1), name);
  }
}

TEST_CASE("DNS: answers behind compressed names and a CNAME are found") {
  Bytes message = *make_dns_query("www.example.com", DnsType::kA, 7);
  write_u16(&message[2], 0x8180);
  write_u16(&message[6], 3);
  const auto add = [&](std::initializer_list<int> bytes) {
    for (const int byte : bytes) message.push_back(static_cast<uint8_t>(byte));
  };
  add({0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 6, 3, 'w', 'e', 'b', 0xc0, 16});
  add({0xc0, 45, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80});
  const size_t second = message.size();
  add({0xc0, 45, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16});
  const IpAddress address6 = ip(kRemote6);
  message.insert(message.end(), address6.octets.begin(), address6.octets.end());

  const auto read = parse_dns(message);
  REQUIRE(read);
  CHECK(read->response);
  CHECK(read->question == "www.example.com");
  CHECK(read->addresses == std::vector{ip("192.0.2.80"), address6});

  message.resize(second + 5);
  CHECK_FALSE(parse_dns(message));
  message[2] |= 2;  // truncated: what is whole is kept
  CHECK(parse_dns(message)->addresses == std::vector{ip("192.0.2.80")});
  message[3] = 3;
  CHECK(dns_rcode_name(parse_dns(message)->rcode) == "NXDOMAIN");
  CHECK(dns_rcode_name(15) == "an unknown code");
}

TEST_CASE("DNS: questions that point somewhere, escape, or grow without end") {
  const auto read = [](const Bytes& name) { return parse_dns(dns_question(name)); };
  CHECK(read({0})->question == ".");
  CHECK(read({3, 'a', '.', ' ', 0})->question == "a\\046\\032");
  CHECK_FALSE(read({0xc0, 12}));          // at itself
  CHECK_FALSE(read({1, 'a', 0xc0, 12}));  // back to its own start, for ever
  CHECK_FALSE(read({0xc0, 200}));         // out of the message
  CHECK_FALSE(read({0x40, 'a', 0}));      // neither label nor pointer
  CHECK_FALSE(read({0x80, 'a', 0}));
  for (const size_t size : {64, 128, 192}) {  // the same with all those bytes there
    CHECK_FALSE(read(labels({std::string(size, 'x'), ""})));
  }
  Bytes longest = labels({std::string(63, 'x'), std::string(63, 'x'), std::string(63, 'x')});
  Bytes fits = longest;
  const Bytes end61 = labels({std::string(61, 'x'), ""});
  const Bytes end62 = labels({std::string(62, 'x'), ""});
  fits.insert(fits.end(), end61.begin(), end61.end());
  longest.insert(longest.end(), end62.begin(), end62.end());
  CHECK(read(fits)->question.size() == 253);
  CHECK_FALSE(read(longest));
}

TEST_CASE("frames are described in a line") {
  const Builder frame = Builder().eth("52:54:00:00:00:01", "ff:ff:ff:ff:ff:ff");
  const std::string head = "52:54:00:00:00:01 → ff:ff:ff:ff:ff:ff ";
  const auto of = [&](Builder& builder) { return describe(builder.build()).substr(head.size()); };
  CHECK(describe(Builder(frame).tag(42).arp_request(kGuest, kGateway).build()) ==
        head + "vlan 42 arp who-has 10.0.2.2 tell 10.0.2.15");
  CHECK(of(Builder(frame).arp_reply(kGateway, kGuest)) == "arp 10.0.2.2 is-at 52:54:00:00:00:01");
  CHECK(of(Builder(frame).tag(1).tag(2).ip(kGuest, "8.8.8.8").echo_request(7, 1)) ==
        "vlan 1 vlan 2 10.0.2.15 → 8.8.8.8 icmp echo request id 7 seq 1");
  CHECK(of(Builder(frame).ip(kGuest, kRemote).udp(1, 2).payload("x").wrong_checksum()) ==
        "10.0.2.15 → 192.0.2.7 udp 1 → 2 1 bytes (wrong checksum)");
  CHECK(of(Builder(frame).ip(kGuest, kRemote).tcp(1, 2, kTcpSyn | kTcpAck, 3, 4)) ==
        "10.0.2.15 → 192.0.2.7 tcp 1 → 2 SYN ACK seq 3 ack 4 0 bytes");
  CHECK(of(Builder(frame).ip(kGuest6, kRemote6).neighbour_solicitation(kRemote6)) ==
        "2001:db8::15 → 2001:db8:1::7 icmp6 who-has 2001:db8:1::7");
  CHECK(of(Builder(frame).ethertype(0x88b5)) == "ethertype 0x88b5, not understood");
  CHECK(of(Builder(frame).ip(kGuest, kRemote).protocol(17).fragment(8, true)) ==
        "10.0.2.15 → 192.0.2.7 fragment at 8");
  CHECK(describe(Bytes(13)) == "a runt of 13 bytes");
}

TEST_CASE("the matchers see tags, padding and wrong checksums") {
  const Bytes bytes = Builder()
                          .eth("52:54:00:00:00:01", "52:54:00:00:00:02")
                          .tag(7, 5, kEthertypeServiceVlan)
                          .ip(kGuest, kRemote)
                          .ttl(9)
                          .udp(1024, 53)
                          .payload("query")
                          .pad_to(64)
                          .build();
  CHECK(bytes.size() == 64);
  const packets::Parsed parsed = packets::parse_frame(bytes);
  REQUIRE(parsed.tag);
  CHECK(parsed.tag->tpid == kEthertypeServiceVlan);
  CHECK(parsed.tag->vid == 7);
  CHECK(parsed.tag->pcp == 5);
  CHECK_FALSE(parsed.inner_tag);
  CHECK(parsed.eth->ethertype == kEthertypeIpv4);
  CHECK(parsed.ipv4->ttl == 9);
  CHECK(parsed.udp->destination_port == 53);
  CHECK(parsed.text() == "query");
  CHECK(parsed.transport_checksum_valid);
}
