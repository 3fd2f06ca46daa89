#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "tests/unit/gateway_bed.h"

using namespace tests;

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

// A TCP connection of a guest's to a server on the host's loopback, with a first sequence number of
// the test's choosing.
struct Connection {
  Connection(Bed& guest_bed, uint32_t first_seq) : bed(guest_bed), seq(first_seq) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), bytes) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
    port = ntohs(address.sin_port);

    send(kTcpSyn, "");
    bed.run();
    const auto syn_ack = bed.only();
    REQUIRE(syn_ack.tcp);
    REQUIRE(syn_ack.tcp->flags == (kTcpSyn | kTcpAck));
    ack = syn_ack.tcp->seq + 1;
    ++seq;
    send(kTcpAck, "");
    server = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    REQUIRE(server);
    bed.take();
  }
  Builder segment(uint8_t flags, uint32_t at) const {
    return Builder()
        .eth(kGuest, kGatewayMac)
        .ip("10.0.2.15", "10.0.2.2")
        .tcp(4000, port, flags, at, ack);
  }
  void send(uint8_t flags, const std::string& text) {
    bed.send(segment(flags, seq).payload(text));
    seq += static_cast<uint32_t>(text.size());
  }
  std::string read() const {
    std::string text(1U << 20U, 0);
    const ssize_t got = ::recv(server.get(), text.data(), text.size(), 0);
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return text;
  }

  Bed& bed;
  uint32_t seq;
  uint32_t ack = 0;
  uint16_t port = 0;
  Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  Fd server;
};

TEST_CASE("urgent data never reaches the engine") {
  // The host's server sees the bytes in line and no urgent mark: the flag was cleared before NAT.
  Bed bed = make_bed();
  Connection connection(bed, 100);
  bed.send(connection.segment(kTcpAck | kTcpPsh, connection.seq).urgent(60'000).payload("abc"));
  CHECK(connection.read() == "abc");
  char byte = 0;
  CHECK(::recv(connection.server.get(), &byte, 1, MSG_OOB) < 0);
}

TEST_CASE("sequence numbers that pass 0") {
  Bed bed = make_bed();
  SUBCASE("in order: every byte arrives, without a retransmission") {
    Connection connection(bed, static_cast<uint32_t>(-30'000));
    std::string sent;
    for (int i = 0; i < 50; ++i) {
      const std::string text(1000, static_cast<char>('a' + i % 26));
      connection.send(kTcpAck | kTcpPsh, text);
      sent += text;
    }
    CHECK(connection.read() == sent);
    CHECK(bed.dropped(DropReason::kSequence) == 0);
  }
  SUBCASE("ending at 0 exactly") {
    Connection connection(bed, static_cast<uint32_t>(-9));
    connection.send(kTcpAck | kTcpPsh, "12345678");
    connection.send(kTcpAck | kTcpPsh, "9");
    CHECK(connection.read() == "123456789");
  }
  SUBCASE("out of order and ending at 0: libslirp 4.7 would leave its list") {
    Connection connection(bed, static_cast<uint32_t>(-9));
    const uint32_t first = connection.seq;
    bed.send(connection.segment(kTcpAck | kTcpPsh, first + 4).payload("late"));
    bed.send(connection.segment(kTcpAck | kTcpPsh, first).payload("soon"));
    CHECK(bed.dropped(DropReason::kSequence) == 1);
    bed.send(connection.segment(kTcpAck | kTcpPsh, first + 4).payload("late"));
    CHECK(connection.read() == "soonlate");
  }
  SUBCASE("after the host's side has closed, data that ends at 0") {
    Connection connection(bed, static_cast<uint32_t>(-9));
    ::shutdown(connection.server.get(), SHUT_WR);
    bed.run(8);
    connection.ack += 1;
    bed.send(connection.segment(kTcpAck, connection.seq));
    connection.send(kTcpAck | kTcpPsh, "12345678");
    CHECK(bed.dropped(DropReason::kSequence) == 1);
  }
}
