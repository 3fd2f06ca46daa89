// Connects that fail, at once or later, and connects that nobody answers: RST or the right ICMP
// error, and never libslirp's FIN.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <vector>

#include "tests/unit/gateway_bed.h"

namespace {

using namespace tests;

Builder syn_to(const char* destination, uint16_t port) {
  return Builder()
      .eth(kGuest, kGatewayMac)
      .ip("10.0.2.15", destination)
      .tcp(4000, port, kTcpSyn, 100);
}

// A server whose queue of connections is full: the kernel answers no further SYN.
struct FullServer {
  FullServer() : listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 8);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t bytes = sizeof address;
    REQUIRE(::bind(listener.get(), generic, bytes) == 0);
    REQUIRE(::listen(listener.get(), 0) == 0);
    REQUIRE(::getsockname(listener.get(), generic, &bytes) == 0);
    port = ntohs(address.sin_port);
    for (int i = 0; i < 2; ++i) {
      clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      ::connect(clients.back().get(), generic, bytes);
    }
  }
  Fd listener;
  std::vector<Fd> clients;
  uint16_t port = 0;
};

}  // namespace

TEST_CASE("a connect that nobody answers is no refused one") {
  static_cast<void>(make_bed());  // the namespace
  ManualClock clock;
  Loop loop(clock);
  TestLog log;
  Gateway gateway(loop, {}, log);
  Collect guest;
  gateway.attach(guest, 1);
  const FullServer server;
  const auto send = [&](const Builder& builder) {
    const Bytes bytes = builder.build();
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
    gateway.send({&frame, 1});
    loop.tick(0);
  };
  send(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.15", "10.0.2.2"));
  guest.frames.clear();
  send(syn_to("127.0.0.9", server.port));
  for (int i = 0; i < 400 && guest.frames.empty(); ++i) {
    clock.advance_ns(250 * kMillisecond_ns);
    loop.tick(0);
  }
  REQUIRE(guest.frames.size() == 1);
  const auto answer = packets::parse_frame(guest.frames[0]);
  REQUIRE(answer.icmp);
  CHECK(answer.icmp->type == kIcmpUnreachable);
  CHECK(answer.icmp->code == kCodeHost);
  const ReasonBook::Entry& entry = gateway.reasons().entries().back();
  CHECK(entry.reason.cause == Cause::kNoAnswer);
  CHECK(entry.reason.fact.find("nothing came back in 7") != std::string::npos);
}

TEST_CASE("refused connects are resets, and no reason is told") {
  Bed bed = make_bed();
  bed.send(syn_to("127.0.0.9", 9));
  bed.run();
  const auto answer = bed.only();
  REQUIRE(answer.tcp);
  CHECK(answer.tcp->flags == (kTcpRst | kTcpAck));
  CHECK(bed.gateway.reasons().entries().empty());
}

TEST_CASE("a guest that refuses what a forward brings") {
  Bed bed = make_bed();
  const Bytes quoted = Builder()
                           .eth(kGatewayMac, kGuest)
                           .ip("10.0.2.2", "10.0.2.15")
                           .tcp(50000, 22, kTcpSyn, 1)
                           .build();
  const auto from_guest = [&](const char* to, uint8_t code, const Bytes& about) {
    const auto packet = make_icmp_error(packets::ip("10.0.2.15"), packets::ip(to), kIcmpUnreachable,
                                        code, 0, std::span(about).subspan(kEthernetHeadBytes));
    return Builder().eth(kGuest, kGatewayMac).ip_packet(packet);
  };
  bed.send(from_guest("10.0.2.2", 13, quoted));
  CHECK(bed.take().empty());
  REQUIRE(bed.gateway.reasons().entries().size() == 1);
  const ReasonBook::Entry& entry = bed.gateway.reasons().entries().back();
  CHECK(entry.reason.cause == Cause::kGuestRefuses);
  CHECK(entry.told == "nothing");
  CHECK_FALSE(entry.icmp);
  CHECK(entry.reason.fact ==
        "guest 10.0.2.15 answers 10.0.2.15:22 tcp with \"Packet filtered\" (ICMP type 3 code 13)");
  // Errors about somebody else's packets, and cut ones, are no news.
  const Bytes foreign = Builder()
                            .eth(kGatewayMac, kGuest)
                            .ip("9.9.9.9", "10.0.2.15")
                            .tcp(50000, 22, kTcpSyn, 1)
                            .build();
  bed.send(from_guest("10.0.2.2", 13, foreign));
  for (size_t size = 15; size < quoted.size(); ++size) {
    bed.send(
        from_guest("10.0.2.2", 3, Bytes(quoted.begin(), quoted.begin() + static_cast<long>(size))));
  }
  for (const ReasonBook::Entry& each : bed.gateway.reasons().entries()) {
    CHECK(each.reason.cause == Cause::kGuestRefuses);
  }
}
