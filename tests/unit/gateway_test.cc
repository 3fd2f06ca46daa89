#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <vector>

#include "netstack/wire/dhcp.h"
#include "tests/unit/gateway_bed.h"

using namespace tests;

namespace {

// A hop-by-hop header with nothing behind it, RFC 8200 §4.3.
const Bytes kHopByHop = {kNextNone, 0, 1, 4, 0, 0, 0, 0};
Fd listen_udp(uint16_t& port) {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  socklen_t bytes = sizeof address;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
  port = ntohs(address.sin_port);
  return socket;
}

}  // namespace

TEST_CASE("the gateway answers ARP, DHCP and echo for itself") {
  Bed bed = make_bed();
  bed.send(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.15", "10.0.2.3"));
  auto answer = bed.only();
  REQUIRE(answer.arp);
  CHECK(answer.arp->operation == kArpReply);
  CHECK(answer.arp->sender_ip == packets::ip("10.0.2.3"));
  bed.take();

  Dhcp discover;
  discover.xid = 77;
  discover.client_mac = packets::mac(kGuest).octets;
  bed.send(Builder()
               .eth(kGuest, "ff:ff:ff:ff:ff:ff")
               .ip("0.0.0.0", "255.255.255.255")
               .udp(68, 67)
               .payload(make_dhcp(discover)));
  answer = bed.only();
  REQUIRE(answer.udp);
  const auto offer = parse_dhcp(answer.udp->payload);
  REQUIRE(offer);
  CHECK(offer->type == DhcpType::kOffer);
  CHECK(offer->your_ip == packets::ip("10.0.2.15"));
  CHECK(offer->router == packets::ip("10.0.2.2"));
  CHECK(offer->dns == packets::ip("10.0.2.3"));
  bed.take();

  bed.send(Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.2").echo_request(5, 9));
  answer = bed.only();
  REQUIRE(answer.icmp);
  REQUIRE(answer.icmp->echo);
  CHECK(answer.icmp->echo->reply);
  CHECK(answer.icmp->echo->seq == 9);
}

TEST_CASE("no route: the guest is told the right code and the log says why, once") {
  Bed bed = make_bed();
  struct Row {
    Builder packet;
    std::string flow;
  };
  const std::vector<Row> rows = {
      {Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "8.8.8.8").echo_request(5, 9),
       "icmp echo"},
      {Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "8.8.8.8").udp(1000, 123).payload("x"),
       "udp"},
      {Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "8.8.8.8").tcp(1000, 443, kTcpSyn),
       "tcp"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.flow);
    bed.log.lines.clear();
    for (int i = 0; i < 3; ++i) {
      bed.send(row.packet);
      const auto answer = bed.only();
      REQUIRE(answer.icmp);
      CHECK(answer.icmp->type == kIcmpUnreachable);
      CHECK(answer.icmp->code == 0);
      CHECK(answer.transport_checksum_valid);
      CHECK(answer.source() == packets::ip("10.0.2.2"));
      CHECK(answer.destination() == packets::ip("10.0.2.15"));
      bed.take();
    }
    REQUIRE(bed.log.lines.size() == 1);
    CHECK(bed.log.lines[0].find("no route: this network namespace has only \"lo\"") !=
          std::string::npos);
    CHECK(bed.log.lines[0].find(row.flow) != std::string::npos);
  }
}

TEST_CASE("a guest that scans addresses cannot flood the log") {
  Bed bed = make_bed();
  for (uint32_t i = 0; i < 500; ++i) {
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac)
                 .ip(packets::ip("10.0.2.15"), IpAddress::v4(0x09000000 + i))
                 .udp(1000, 9)
                 .payload("x"));
  }
  CHECK(bed.take().size() == 500);
  CHECK(bed.log.lines.size() == ReasonBook::kLinesMax);
}

TEST_CASE("no IPv6 route is told over ICMPv6") {
  Bed bed = make_bed();
  for (const auto& packet :
       {Builder().eth(kGuest, kGatewayMac6).ip("fec0::15", "2001:db8::1").echo_request(5, 9),
        Builder().eth(kGuest, kGatewayMac6).ip("fec0::15", "2001:db8::1").tcp(9, 80, kTcpSyn)}) {
    bed.send(packet);
    const auto answer = bed.only();
    REQUIRE(answer.icmp);
    CHECK(answer.icmp->type == kIcmpv6Unreachable);
    CHECK(answer.icmp->code == 0);
    CHECK(answer.transport_checksum_valid);
    CHECK(answer.source() == packets::ip("fec0::2"));
    bed.take();
  }
}

TEST_CASE("echo goes out by ping socket and only a true reply comes back") {
  Bed bed = make_bed();
  tests::set_ping_group_range("0 0");
  const auto ping = [&](size_t payload_bytes, uint8_t ttl) {
    return Builder()
        .eth(kGuest, kGatewayMac)
        .ip("10.0.2.15", "127.0.0.9")
        .ttl(ttl)
        .echo_request(0x4242, 3)
        .payload_bytes(payload_bytes);
  };
  SUBCASE("as it was sent") {
    bed.send(ping(56, 64));
    const auto answer = bed.only();
    REQUIRE(answer.icmp);
    REQUIRE(answer.icmp->echo);
    CHECK(answer.icmp->echo->reply);
    CHECK(answer.icmp->echo->id == 0x4242);
    CHECK(answer.icmp->echo->seq == 3);
    CHECK(answer.icmp->echo->payload.size() == 56);
    CHECK(answer.transport_checksum_valid);
    CHECK(answer.source() == packets::ip("127.0.0.9"));
    CHECK(answer.ipv4->ttl == 63);
  }
  SUBCASE("in fragments, both ways") {
    const Bytes whole = ping(3000, 64).build();
    for (const Bytes& piece :
         fragment_ipv4(std::span(whole).subspan(kEthernetHeadBytes), Gateway::kMtu)) {
      bed.send(Builder().eth(kGuest, kGatewayMac).ip_packet(piece));
    }
    const auto frames = bed.take();
    REQUIRE(frames.size() == 3);
    size_t bytes = 0;
    for (const Bytes& frame : frames) bytes += frame.size() - kEthernetHeadBytes - kIpv4HeadBytes;
    CHECK(bytes == 3000 + kIcmpHeadBytes);
  }
  SUBCASE("its time to live runs out here") {
    bed.send(ping(56, 1));
    const auto answer = bed.only();
    REQUIRE(answer.icmp);
    CHECK(answer.icmp->type == kIcmpTimeExceeded);
    CHECK(answer.source() == packets::ip("10.0.2.2"));
  }
}

TEST_CASE("echo that the host does not permit is told so") {
  Bed bed = make_bed();
  tests::enter_private_network();  // a new one, where nobody may
  bed.send(Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "127.0.0.9").echo_request(5, 3));
  const auto answer = bed.only();
  REQUIRE(answer.icmp);
  CHECK(answer.icmp->type == kIcmpUnreachable);
  CHECK(answer.icmp->code == 13);
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(bed.log.lines[0].find("ping_group_range") != std::string::npos);
}

TEST_CASE("many echo flows share a bounded number of sockets") {
  Bed bed = make_bed();
  tests::set_ping_group_range("0 0");
  for (uint16_t id = 0; id < 400; ++id) {
    bed.send(Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "127.0.0.9").echo_request(id, 1));
  }
  CHECK(bed.take().size() == 400);
}

TEST_CASE("UDP reaches the host's loopback and answers come back from the gateway") {
  Bed bed = make_bed();
  uint16_t port = 0;
  const Fd server = listen_udp(port);
  const auto hello = Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.2").udp(4000, port);
  SUBCASE("plain") {
    bed.send(Builder(hello).payload("hello"));
  }
  SUBCASE("priority-tagged: the tag is taken off") {
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac)
                 .tag(0, 5)
                 .ip("10.0.2.15", "10.0.2.2")
                 .udp(4000, port)
                 .payload("hello"));
  }
  SUBCASE("in fragments, the last one first") {
    const Bytes whole = Builder(hello).payload("hello").build();
    auto pieces = fragment_ipv4(std::span(whole).subspan(kEthernetHeadBytes), kIpv4HeadBytes + 8);
    std::ranges::reverse(pieces);
    REQUIRE(pieces.size() == 2);
    for (const Bytes& piece : pieces) {
      bed.send(Builder().eth(kGuest, kGatewayMac).ip_packet(piece));
    }
  }
  SUBCASE("with a partial checksum: it is finished") {
    const Bytes bytes = Builder(hello).payload("hello").partial_checksum().build();
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
    frame.offload = {true, kEthernetHeadBytes + kIpv4HeadBytes, 6};
    bed.gateway.send({&frame, 1});
    bed.run();
  }
  char text[16] = {};
  sockaddr_in from{};
  socklen_t from_bytes = sizeof from;
  CHECK(::recvfrom(server.get(), text, sizeof text, 0, reinterpret_cast<sockaddr*>(&from),
                   &from_bytes) == 5);
  CHECK(std::string(text) == "hello");
  REQUIRE(::sendto(server.get(), "world", 5, 0, reinterpret_cast<sockaddr*>(&from), from_bytes) ==
          5);
  bed.run();
  const auto answer = bed.only();
  REQUIRE(answer.udp);
  CHECK(answer.source() == packets::ip("10.0.2.2"));
  CHECK(answer.text() == "world");
}

TEST_CASE("a refused port comes from the address the guest asked, not from 127.0.0.1") {
  Bed bed = make_bed();
  bed.send(
      Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.2").udp(4000, 9).payload("x"));
  bed.run();
  const auto answer = bed.only();
  REQUIRE(answer.icmp);
  CHECK(answer.icmp->type == kIcmpUnreachable);
  CHECK(answer.icmp->code == 3);
  CHECK(answer.source() == packets::ip("10.0.2.2"));
}

// libslirp 4.7 dies of one.
TEST_CASE("the last fragment of a datagram whose others never come is kept from the engine") {
  Bed bed = make_bed();
  const auto piece = [](uint8_t protocol) {
    return Builder()
        .eth(kGuest, kGatewayMac)
        .ip("10.0.2.15", "10.0.2.2")
        .protocol(protocol)
        .fragment(16, false)
        .payload_bytes(12);
  };
  bed.send(piece(kProtocolUdp));
  bed.send(piece(kProtocolIcmp));
  CHECK(bed.take().empty());
}

TEST_CASE("what the gateway does not carry") {
  Bed bed = make_bed();
  struct Row {
    std::string what;
    Bytes frame;
    DropReason reason;
    size_t answers;
  };
  const auto eth = [] { return Builder().eth(kGuest, kGatewayMac); };
  const std::vector<Row> rows = {
      {"another VLAN",
       Builder()
           .eth(kGuest, kGatewayMac)
           .tag(7)
           .ip("10.0.2.15", "10.0.2.2")
           .echo_request(1, 1)
           .build(),
       DropReason::kVlanNotMember, 0},
      {"NC-SI", eth().ethertype(0x88f8).payload_bytes(46).build(), DropReason::kUnsupported, 0},
      {"TCP in fragments",
       eth().ip("10.0.2.15", "10.0.2.2").fragment(0, true).tcp(1, 2, kTcpSyn).build(),
       DropReason::kUnsupported, 0},
      {"SCTP: protocol unreachable",
       eth().ip("10.0.2.15", "8.8.8.8").protocol(132).payload_bytes(20).build(),
       DropReason::kUnsupported, 1},
      {"echo reply", eth().ip("10.0.2.15", "8.8.8.8").echo_reply(1, 1).build(),
       DropReason::kUnsupported, 0},
      {"a wrong ICMP checksum",
       eth().ip("10.0.2.15", "8.8.8.8").echo_request(1, 1).wrong_checksum().build(),
       DropReason::kMalformed, 0},
      {"an IP header cut short", eth().ethertype(0x0800).payload_bytes(10).build(),
       DropReason::kMalformed, 0},
      {"IPv6 with hop-by-hop options",
       Builder()
           .eth(kGuest, kGatewayMac6)
           .ipv6("fec0::15", "2001:db8::1")
           .protocol(0)
           .payload(kHopByHop)
           .build(),
       DropReason::kUnsupported, 1},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    const uint64_t before = bed.dropped(row.reason);
    bed.send(row.frame);
    CHECK(bed.dropped(row.reason) == before + 1);
    CHECK(bed.take().size() == row.answers);
  }
}

TEST_CASE("frames for others, flooded here, and groups are ignored") {
  Bed bed = make_bed();
  bed.send(Builder()
               .eth(kGuest, "01:00:5e:00:00:fb")
               .ip("10.0.2.15", "224.0.0.251")
               .udp(5353, 5353)
               .payload("x"));
  bed.send(
      Builder().eth(kGuest, "52:54:00:00:00:02").ip("10.0.2.15", "8.8.8.8").echo_request(1, 1));
  bed.send(
      Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").ip("10.0.2.15", "8.8.8.8").echo_request(1, 1));
  CHECK(bed.take().empty());
  CHECK(bed.log.lines.empty());
  CHECK(bed.gateway.counters().dropped() == 0);
}

TEST_CASE("TFTP and the DNS address's other ports are closed, not carried") {
  Bed bed = make_bed();
  for (const auto& [address, port] : {std::pair{"10.0.2.2", 69}, std::pair{"10.0.2.3", 99}}) {
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac)
                 .ip("10.0.2.15", address)
                 .udp(4000, static_cast<uint16_t>(port))
                 .payload("x"));
    const auto answer = bed.only();
    REQUIRE(answer.icmp);
    CHECK(answer.icmp->code == 3);
    bed.take();
  }
}

TEST_CASE("an oversized IPv6 echo is told the MTU, and strangers' addresses are not served") {
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
  bed.take();
  bed.send(Builder().eth(kGuest, kGatewayMac).ip("192.0.2.1", "10.0.2.2").tcp(1, 2, kTcpSyn));
  bed.send(Builder().eth(kGuest, kGatewayMac6).ip("2001:db8::1", "fec0::2").tcp(1, 2, kTcpSyn));
  CHECK(bed.dropped(DropReason::kForeignSource) == 2);
  CHECK(bed.take().empty());
}

TEST_CASE("an idle gateway sleeps") {
  ManualClock clock;
  Loop loop(clock);
  TestLog log;
  static_cast<void>(make_bed());
  Gateway gateway(loop, {}, log);
  loop.tick(0);
  loop.tick(0);
  // With no guest there is nothing to wait for but the next router advertisement, minutes away.
  CHECK(loop.next_deadline_ns() >= clock.monotonic_ns() + 10 * kSecond_ns);
}

TEST_CASE("forwards: a busy address is refused with its name") {
  static_cast<void>(make_bed());
  uint16_t port = 0;
  const Fd server = listen_udp(port);
  SystemClock clock;
  Loop loop(clock);
  TestLog log;
  GatewayConfig config;
  config.forwards.push_back(HostForward::parse(fmt::format("udp:127.0.0.1:{}-:53", port)));
  try {
    Gateway gateway(loop, config, log);
    FAIL("a busy port was accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find(fmt::format("udp:127.0.0.1:{}-:53", port)) !=
          std::string::npos);
    CHECK(std::string(error.what()).find("Address already in use") != std::string::npos);
  }
}

TEST_CASE("--net: what is taken and what is refused") {
  CHECK(GatewayNetwork::parse("192.168.7.0/24").gateway() == packets::ip("192.168.7.2"));
  CHECK(GatewayNetwork::parse("10.0.0.0/8").is_broadcast(packets::ip("10.255.255.255")));
  for (const std::string bad :
       {"", "10.0.2.0", "10.0.2.1/24", "10.0.2.0/28", "10.0.0.0/7", "fec0::/64", "127.0.0.0/8",
        "224.0.0.0/24", "10.0.2.0/x", "0.0.0.0/8", "a/24"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(GatewayNetwork::parse(bad), Error);
  }
}
