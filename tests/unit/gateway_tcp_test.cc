#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/wire/pseudo_header.h"
#include "tests/unit/gateway_bed.h"

using namespace tests;
using namespace std::string_literals;

TEST_CASE("a refused TCP connection is a reset, never a FIN") {
  Bed bed = make_bed();
  bed.send(
      Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.2").tcp(4000, 9, kTcpSyn, 100));
  bed.run();
  const auto answer = bed.only();
  REQUIRE(answer.tcp);
  CHECK(answer.tcp->flags == (kTcpRst | kTcpAck));
  CHECK(answer.tcp->ack == 101);
}

// A server on the host's loopback and a guest's flow to it, with sequence numbers of the test's
// choosing.
struct GuestFlow {
  GuestFlow(Bed& guest_bed, uint32_t first_seq, bool over_v6 = false)
      : bed(guest_bed),
        seq(first_seq),
        v6(over_v6),
        listener(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage address{};
    const auto loopback = packets::ip(v6 ? "::1" : "127.0.0.1");
    socklen_t bytes = to_sockaddr(loopback, 0, address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    const int room = 4096;  // so that a server that does not read is soon full
    ::setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    REQUIRE(::bind(listener.get(), generic, bytes) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    ::getsockname(listener.get(), generic, &bytes);
    port = ntohs(v6 ? reinterpret_cast<sockaddr_in6*>(generic)->sin6_port
                    : reinterpret_cast<sockaddr_in*>(generic)->sin_port);
    if (v6) {
      bed.send(Builder()
                   .eth(kGuest, kGatewayMac6)
                   .ip("fec0::15", "fec0::2")
                   .ttl(255)
                   .neighbour_advertisement("fec0::15"));
      bed.take();
    }
  }

  void open(const std::string& with_syn = "") {
    send(kTcpSyn, with_syn);
    bed.run();
    REQUIRE(take_window() == 65'535);
    ++seq;
    send(kTcpAck, "");
    accept();
    bed.take();
  }
  void accept() {
    server = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    REQUIRE(server);
  }
  void close_server() {
    ::shutdown(server.get(), SHUT_WR);
    bed.run(8);
    ++ack;
    send(kTcpAck, "");
    bed.take();
  }

  Builder segment(uint8_t flags, uint32_t at) const {
    return Builder()
        .eth(kGuest, v6 ? kGatewayMac6 : kGatewayMac)
        .ip(v6 ? "fec0::15" : "10.0.2.15", v6 ? "fec0::2" : "10.0.2.2")
        .tcp(4000, port, flags, at, ack);
  }
  // Out of turn: the flow's own numbers stay.
  void send_at(uint32_t at, const std::string& text) {
    bed.send(segment(kTcpAck | kTcpPsh, at).payload(text));
  }
  void send(uint8_t flags, const std::string& text) {
    bed.send(segment(flags, seq).payload(text));
    seq += static_cast<uint32_t>(text.size());
  }
  // The window in the last segment the guest got; its numbers become the flow's.
  uint32_t take_window() {
    const auto frames = bed.take();
    REQUIRE_FALSE(frames.empty());
    const auto last = packets::parse_frame(frames.back());
    REQUIRE(last.tcp);
    if ((last.tcp->flags & kTcpSyn) != 0) ack = last.tcp->seq + 1;
    acked = last.tcp->ack;
    return last.tcp->window;
  }
  std::string read() const {
    std::string text(1U << 20U, 0);
    const ssize_t got = ::recv(server.get(), text.data(), text.size(), 0);
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return text;
  }
  uint64_t refused() const { return bed.dropped(DropReason::kSequence); }

  Bed& bed;
  uint32_t seq;
  bool v6;
  uint32_t ack = 0;
  uint32_t acked = 0;
  uint16_t port = 0;
  Fd listener;
  Fd server;
};

TEST_CASE("urgent data never reaches the engine") {
  // The host's server sees the bytes in line and no urgent mark: the flag was cleared before NAT.
  Bed bed = make_bed();
  GuestFlow flow(bed, 100);
  flow.open();
  bed.send(flow.segment(kTcpAck | kTcpPsh, flow.seq).urgent(60'000).payload("abc"));
  CHECK(flow.read() == "abc");
  char byte = 0;
  CHECK(::recv(flow.server.get(), &byte, 1, MSG_OOB) < 0);
}

TEST_CASE("what follows a packet in its frame is no data") {
  Bed bed = make_bed();
  GuestFlow flow(bed, 100, true);
  flow.open();
  bed.send(flow.segment(kTcpAck | kTcpPsh, flow.seq).payload("abc").pad_to(120));
  CHECK(flow.read() == "abc");
}

TEST_CASE("a flow in order passes sequence number 0 unharmed") {
  Bed bed = make_bed();
  bool v6 = false;
  SUBCASE("IPv4") {}
  SUBCASE("IPv6") {
    v6 = true;
  }
  GuestFlow flow(bed, static_cast<uint32_t>(-300'300), v6);
  flow.open();
  std::string sent;
  std::string got;
  for (int i = 0; i < 600; ++i) {
    const std::string text(1000, static_cast<char>('a' + i % 26));
    flow.send(kTcpAck | kTcpPsh, text);
    sent += text;
    got += flow.read();
    if (i == 100) flow.close_server();  // libslirp then queues what is in order, too
  }
  bed.run(8);
  got += flow.read();
  CHECK(got == sent);
  CHECK(flow.refused() == 0);
}

TEST_CASE("early segments below sequence number 0 are taken within the window") {
  Bed bed = make_bed();
  GuestFlow flow(bed, static_cast<uint32_t>(-100));
  flow.open();
  const uint32_t first = flow.seq;
  flow.send_at(first + 50, std::string(60, 'c'));  // across 0
  flow.send_at(first + 20, std::string(30, 'b'));
  flow.send_at(first, std::string(20, 'a'));
  CHECK(flow.read() == std::string(20, 'a') + std::string(30, 'b') + std::string(60, 'c'));
  CHECK(flow.refused() == 0);
}

// Each of these makes libslirp 4.7 leave its list, or would in a flow that is not as it seems.
TEST_CASE("no segment that ends at sequence number 0 reaches the engine") {
  Bed bed = make_bed();
  GuestFlow flow(bed, static_cast<uint32_t>(-9));
  SUBCASE("in order") {
    flow.open();
    const uint32_t first = flow.seq;
    flow.send_at(first, "12345678");
    CHECK(flow.refused() == 1);
    flow.send_at(first, "1234");
    flow.send_at(first + 4, "56789");
    CHECK(flow.read() == "123456789");
  }
  SUBCASE("early") {
    flow.open();
    const uint32_t first = flow.seq;
    flow.send_at(first + 4, "late");
    flow.send_at(first, "soon");
    CHECK(flow.refused() == 1);
    flow.send_at(first + 4, "later");
    CHECK(flow.read() == "soonlater");
  }
  SUBCASE("after the host's side has closed") {
    flow.open();
    flow.close_server();
    flow.send_at(flow.seq, "12345678");
    CHECK(flow.refused() == 1);
    flow.send_at(flow.seq, "123456789");
    CHECK(flow.read() == "123456789");
  }
  SUBCASE("after it has closed, its FIN behind data that wait for the guest") {
    flow.open();
    ::send(flow.server.get(), std::string(30'000, 'y').data(), 30'000, 0);
    ::shutdown(flow.server.get(), SHUT_WR);
    bed.run(8);
    flow.send_at(flow.seq, "12345678");
    CHECK(flow.refused() == 1);
  }
  SUBCASE("with the SYN") {
    flow.send(kTcpSyn, "12345678");
    bed.run();
    CHECK(flow.refused() == 1);
    CHECK(bed.take().empty());
  }
  SUBCASE("a FIN, early") {
    flow.open();
    bed.send(flow.segment(kTcpFin | kTcpAck, 0));
    CHECK(flow.refused() == 1);
    flow.send_at(flow.seq, "1234567");
    CHECK(flow.read() == "1234567");
  }
}

TEST_CASE("no segment reaches the engine that it could cut at sequence number 0") {
  Bed bed = make_bed();
  SUBCASE("with the SYN") {
    GuestFlow flow(bed, static_cast<uint32_t>(-9));
    flow.send(kTcpSyn, "123456789");
    CHECK(flow.refused() == 1);
  }
  SUBCASE("beyond the window") {
    GuestFlow flow(bed, static_cast<uint32_t>(-65'536));
    flow.open();
    flow.send_at(static_cast<uint32_t>(-4), "1234");  // within it, but ends at 0
    flow.send_at(static_cast<uint32_t>(-4), "12345");
    CHECK(flow.refused() == 2);
  }
  SUBCASE("of no flow") {
    GuestFlow flow(bed, static_cast<uint32_t>(-9));
    flow.send_at(static_cast<uint32_t>(-4), "12345");
    CHECK(flow.refused() == 1);
  }
  SUBCASE("with a wrong checksum") {
    GuestFlow flow(bed, static_cast<uint32_t>(-9));
    flow.open();
    bed.send(flow.segment(kTcpAck, flow.seq).payload("123456789").wrong_checksum());
    CHECK(flow.refused() == 1);
    CHECK(bed.take().empty());  // nor was it asked about
  }
}

// A SYN with an MSS of 32 inside a flow: libslirp empties its buffer and makes it 128 KiB.
Bytes emptying_syn(const GuestFlow& flow) {
  Bytes frame = flow.segment(kTcpSyn | kTcpAck, flow.seq - 1000).payload("\x02\x04\x00 "s).build();
  const std::span<uint8_t> segment = std::span(frame).subspan(kEthernetHeadBytes + kIpv4HeadBytes);
  segment[12] = (kTcpHeadBytes + 4) / 4 << 4U;
  write_u16(&segment[16], 0);
  write_u16(&segment[16], transport_checksum(packets::ip("10.0.2.15"), packets::ip("10.0.2.2"),
                                             kProtocolTcp, segment));
  return frame;
}

// Moves a flow on to `to` in order, whatever its window and however little the server reads.
void advance(GuestFlow& flow, uint32_t to, uint32_t step_bytes) {
  while (flow.seq != to) {
    flow.send(kTcpAck, std::string(std::min(to - flow.seq, step_bytes), 'x'));
    flow.bed.send(emptying_syn(flow));
    flow.take_window();
    REQUIRE(flow.acked == flow.seq);
  }
}

// The worst a guest can do: make libslirp offer windows that are nonsense, then come to 0 with its
// true edge exactly there. By the offered windows it would seem to be far beyond.
TEST_CASE("a flow that has overrun its window does not come to sequence number 0") {
  constexpr uint32_t kBufferBytes = 128 * 1024;
  Bed bed = make_bed();
  GuestFlow flow(bed, static_cast<uint32_t>(-6 * 1024 * 1024));
  flow.open();
  flow.close_server();
  advance(flow, static_cast<uint32_t>(-400'000), 30'000);

  const uint32_t gap_end = flow.seq + 1000;
  const uint32_t overrun = flow.seq + 121'000;
  for (uint32_t at = gap_end; at != overrun; at += 20'000) {
    flow.send_at(at, std::string(20'000, 'e'));
  }
  flow.send_at(flow.seq, std::string(1000, 'f'));
  flow.take_window();
  REQUIRE(flow.acked == overrun);
  flow.seq = overrun;
  bed.send(emptying_syn(flow));
  advance(flow, 0U - kBufferBytes - 51'000, 30'000);
  advance(flow, 0U - kBufferBytes, 1000);  // the server's socket is full: 0 is now the edge
  CHECK(flow.refused() == 0);

  for (int i = 0; i < 131; ++i) flow.send(kTcpAck, std::string(1000, 'g'));
  flow.send(kTcpAck, std::string(200, 'h'));  // across 0
  CHECK(flow.refused() > 0);
  flow.send_at(flow.seq - 1'000'000, "");
  flow.take_window();
  CHECK(static_cast<int32_t>(flow.acked) < -1000);
}
