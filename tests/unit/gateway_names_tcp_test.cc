// DNS over TCP: a guest's connection to .3:53 through libslirp to the gateway's own socket.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>

#include "netstack/wire/tcp_rewrite.h"
#include "tests/unit/names_bed.h"

using namespace tests;

namespace {

// A TCP client played frame by frame: no retransmission, no window, one connection.
struct Client {
  Client(NamesBed& with, bool over_v6, uint16_t from_port = 4000)
      : bed(with), v6(over_v6), port(from_port) {
    if (v6) {  // libslirp learns where the guest is by neighbour discovery
      bed.send(Builder()
                   .eth(kGuest, "33:33:ff:00:00:02")
                   .ip("fec0::15", "ff02::1:ff00:2")
                   .ttl(255)
                   .neighbour_solicitation("fec0::2"));
      bed.guest.frames.clear();
    }
    send(kTcpSyn, {});
    collect();
    REQUIRE((flags & (kTcpSyn | kTcpAck)) == (kTcpSyn | kTcpAck));
    ++seq;
    send(kTcpAck, {});
  }

  void send(uint8_t with, const Bytes& bytes) {
    bed.send(Builder()
                 .eth(kGuest, v6 ? "52:56:00:00:00:03" : "52:55:0a:00:02:03")
                 .ip(v6 ? "fec0::15" : "10.0.2.15", v6 ? "fec0::3" : "10.0.2.3")
                 .tcp(port, 53, with, seq, ack)
                 .payload(bytes));
    seq += static_cast<uint32_t>(bytes.size());
  }
  void ask(const Bytes& query) {
    Bytes framed(2);
    write_u16(framed.data(), static_cast<uint16_t>(query.size()));
    framed.insert(framed.end(), query.begin(), query.end());
    send(kTcpAck | kTcpPsh, framed);
    settle();
  }
  // Lets the sockets talk, and acknowledges what comes.
  void settle() {
    for (int i = 0; i < 6; ++i) {
      bed.clock.advance_ns(5 * kMillisecond_ns);
      bed.run();
      if (collect()) send(kTcpAck, {});
    }
  }
  // Takes in what has arrived. True: there was data in it.
  bool collect() {
    bool data = false;
    for (const Bytes& frame : bed.take()) {
      const Parsed parsed = packets::parse_frame(frame);
      if (!parsed.tcp || parsed.tcp->destination_port != port) continue;  // another client's
      CHECK(parsed.transport_checksum_valid);
      CHECK(parsed.source() == ip(v6 ? "fec0::3" : "10.0.2.3"));
      CHECK(parsed.tcp->source_port == 53);
      flags |= parsed.tcp->flags;
      const auto payload = parsed.tcp->payload;
      const bool counts = (parsed.tcp->flags & (kTcpSyn | kTcpFin)) != 0;
      if (counts || (!payload.empty() && parsed.tcp->seq == ack)) {
        ack = parsed.tcp->seq + static_cast<uint32_t>(payload.size()) + (counts ? 1 : 0);
        received.insert(received.end(), payload.begin(), payload.end());
        data = true;
      }
    }
    return data;
  }
  Dns answer() {
    REQUIRE(received.size() > 2);
    const size_t bytes = read_u16(received.data());
    REQUIRE(received.size() >= bytes + 2);
    const auto dns = parse_dns(std::span(received).subspan(2, bytes));
    REQUIRE(dns);
    received.erase(received.begin(), received.begin() + static_cast<ptrdiff_t>(bytes + 2));
    return *dns;
  }

  NamesBed& bed;
  bool v6;
  uint16_t port;
  uint32_t seq = 1000;
  uint32_t ack = 0;
  uint8_t flags = 0;
  Bytes received;
};

}  // namespace

TEST_CASE("names of the LAN over TCP, of either family") {
  NamesBed bed;
  bed.lease("web");
  for (const bool v6 : {false, true}) {
    CAPTURE(v6);
    Client client(bed, v6);
    client.ask(dns_query("web.lan", 1, 7));
    const Dns dns = client.answer();
    CHECK(dns.id == 7);
    CHECK(dns.addresses == std::vector{ip("10.0.2.15")});
  }
}

TEST_CASE("two questions in one segment, a long answer, and an end") {
  NamesBed bed("nameserver 127.0.0.1\n");
  FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.9"), FakeNameserver::Stream::kListens,
                     saying("192.0.2.1", {.padding_records = 20}));
  Client client(bed, false);
  client.ask(dns_query("long.example"));
  CHECK(client.answer().addresses == std::vector{ip("192.0.2.1")});
  CHECK(one.queries.empty());
  CHECK(one.stream_queries.size() == 1);
  Bytes two;
  for (const uint16_t id : {uint16_t{1}, uint16_t{2}}) {
    const Bytes query = dns_query("gateway.lan", 1, id);
    two.push_back(0);
    two.push_back(static_cast<uint8_t>(query.size()));
    two.insert(two.end(), query.begin(), query.end());
  }
  client.send(kTcpAck | kTcpPsh, two);
  client.settle();
  CHECK(client.answer().id == 1);
  CHECK(client.answer().id == 2);
  client.send(kTcpFin | kTcpAck, {});
  ++client.seq;
  client.settle();
  CHECK((client.flags & kTcpFin) != 0);
}

TEST_CASE("no nameserver over TCP: SERVFAIL, and the reason in the log") {
  NamesBed bed;
  Client client(bed, false);
  client.ask(dns_query("example.com"));
  CHECK(client.answer().rcode == kDnsServerFailure);
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(bed.log.lines[0].find("10.0.2.15 → 10.0.2.3:53 tcp: no nameserver: ") == 0);
  CHECK(bed.log.lines[0].find("The guest is told \"SERVFAIL\"") != std::string::npos);
}

TEST_CASE("a query that is too long, and silence, end the connection") {
  NamesBed bed;
  Client client(bed, false);
  SUBCASE("too long") {
    client.send(kTcpAck | kTcpPsh, {0xff, 0xff, 1, 2, 3});
    client.settle();
  }
  SUBCASE("silence") {
    bed.clock.advance_ns(DnsStream::kIdle_ns + 1);
    client.settle();
  }
  CHECK((client.flags & (kTcpFin | kTcpRst)) != 0);
}

TEST_CASE("connections beyond the limit: the longest idle one makes room") {
  NamesBed bed;
  std::vector<std::unique_ptr<Client>> clients;
  for (uint16_t i = 0; i < DnsStream::kConnectionsMax + 5; ++i) {
    clients.push_back(std::make_unique<Client>(bed, false, static_cast<uint16_t>(5000 + i)));
    bed.clock.advance_ns(kMillisecond_ns);
  }
  clients.back()->ask(dns_query("gateway.lan"));
  CHECK(clients.back()->answer().addresses.size() == 1);
  clients.front()->ask(dns_query("gateway.lan"));
  CHECK(clients.front()->received.empty());
}

TEST_CASE("a segment of a connection nobody knows is reset by the address it went to") {
  NamesBed bed;
  for (const bool after_another : {false, true}) {
    CAPTURE(after_another);
    if (after_another) Client(bed, false).ask(dns_query("gateway.lan"));
    bed.guest.frames.clear();
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac)
                 .ip("10.0.2.15", "10.0.2.3")
                 .tcp(4999, 53, kTcpAck, 5, 6));
    const Parsed frame = bed.only();
    REQUIRE(frame.tcp);
    CHECK((frame.tcp->flags & kTcpRst) != 0);
    CHECK(frame.source() == ip("10.0.2.3"));
    CHECK(frame.tcp->source_port == 53);
  }
}

TEST_CASE("the DNS address's other TCP ports are closed") {
  NamesBed bed;
  for (const bool v6 : {false, true}) {
    bed.send(Builder()
                 .eth(kGuest, v6 ? "52:56:00:00:00:03" : "52:55:0a:00:02:03")
                 .ip(v6 ? "fec0::15" : "10.0.2.15", v6 ? "fec0::3" : "10.0.2.3")
                 .tcp(4000, 99, kTcpSyn));
    const Parsed frame = bed.only();
    REQUIRE(frame.icmp);
    CHECK(frame.icmp->type == (v6 ? kIcmpv6Unreachable : kIcmpUnreachable));
    CHECK(frame.icmp->code == (v6 ? 4 : 3));
  }
}

TEST_CASE("a program of the host's that connects to the gateway's port is turned away") {
  static_cast<void>(NamesBed());
  ManualClock clock;
  Loop loop(clock);
  std::vector<IpAddress> askers;
  DnsStream stream(loop, {.on_query = [&](uint64_t, const IpAddress& guest,
                                          std::span<const uint8_t>) { askers.push_back(guest); },
                          .on_closed = [](uint64_t) {}});
  const uint16_t port = stream.expect(ip("10.0.2.15"));
  REQUIRE(port != 0);
  CHECK(stream.expect(ip("10.0.2.16")) == port);
  const auto connect = [&] {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_storage to{};
    const socklen_t bytes = to_sockaddr(ip("127.0.0.1"), port, to);
    ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), bytes);
    const Bytes query = dns_query("x");
    Bytes framed = {0, static_cast<uint8_t>(query.size())};
    framed.insert(framed.end(), query.begin(), query.end());
    ::send(socket.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
    for (int i = 0; i < 4; ++i) loop.tick(0);
    return socket;
  };
  const Fd first = connect();
  CHECK(askers == std::vector{ip("10.0.2.15")});
  clock.advance_ns(DnsStream::kExpected_ns + 1);  // the second guest's never came
  const Fd stranger = connect();
  CHECK(askers.size() == 1);
  CHECK(stream.stranger_count() == 1);
  CHECK(stream.connection_count() == 1);
}

TEST_CASE("a rewritten packet keeps a right checksum right and a wrong one wrong") {
  for (const bool wrong : {false, true}) {
    for (const bool v6 : {false, true}) {
      CAPTURE(wrong);
      CAPTURE(v6);
      Builder builder = Builder()
                            .ip(v6 ? "fec0::15" : "10.0.2.15", v6 ? "fec0::3" : "10.0.2.3")
                            .tcp(4000, 53, kTcpAck, 7, 9)
                            .payload("abc");
      if (wrong) builder.wrong_checksum();
      Bytes packet = builder.build_ip();
      rewrite_destination(packet, ip(v6 ? "2001:db8::ffff" : "255.1.254.3"), 0xffff);
      rewrite_source(packet, ip(v6 ? "fec0::1" : "0.1.2.3"), 1);
      const Parsed parsed = packets::parse_ip(packet);
      REQUIRE(parsed.tcp);
      CHECK(parsed.destination() == ip(v6 ? "2001:db8::ffff" : "255.1.254.3"));
      CHECK(parsed.source() == ip(v6 ? "fec0::1" : "0.1.2.3"));
      CHECK(parsed.tcp->destination_port == 0xffff);
      CHECK(parsed.tcp->source_port == 1);
      CHECK(parsed.transport_checksum_valid == !wrong);
    }
  }
}
