#include "netstack/nat/nat_engine.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <set>

#include "tests/unit/gateway_bed.h"

using namespace tests;

namespace {

// The engine by itself, in a namespace that holds nothing but "lo".
struct EngineBed {
  explicit EngineBed(GatewayConfig config = {})
      : engine(
            loop, config, log, connects,
            [this](std::span<const uint8_t> frame, int) {
              frames.emplace_back(frame.begin(), frame.end());
            },
            [this] {
              if (!scheduled) loop.at_end_of_tick([this] { end_tick(); });
              scheduled = true;
            }) {
    engine.input(
        Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.15", "10.0.2.2").build());
    run();
    frames.clear();
  }
  void end_tick() {
    scheduled = false;
    engine.end_tick();
  }
  void run(int ticks = 4) {
    for (int i = 0; i < ticks; ++i) loop.tick(2 * kMillisecond_ns);
  }
  void send_udp(uint16_t from, uint16_t to) {
    engine.input(Builder()
                     .eth(kGuest, kGatewayMac)
                     .ip("10.0.2.15", "10.0.2.2")
                     .udp(from, to)
                     .payload("x")
                     .build());
  }

  SystemClock clock;
  Loop loop{clock};
  TestLog log;
  bool scheduled = false;
  std::vector<Bytes> frames;
  ConnectWatch connects{loop, [](const TcpFlow&) { return std::nullopt; }};
  NatEngine engine;
};

EngineBed make_engine_bed(const GatewayConfig& config = {}) {
  static const PrivateNetwork once;
  return EngineBed(config);
}

struct UdpServer {
  UdpServer() : socket(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    socklen_t bytes = sizeof address;
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
    port = ntohs(address.sin_port);
  }
  // Sends each datagram back to whom it came from. Returns how many.
  size_t echo() const {
    size_t count = 0;
    for (;; ++count) {
      std::array<char, 16> data{};
      sockaddr_in from{};
      socklen_t bytes = sizeof from;
      auto* generic = reinterpret_cast<sockaddr*>(&from);
      const ssize_t size = ::recvfrom(socket.get(), data.data(), data.size(), 0, generic, &bytes);
      if (size < 0) return count;
      ::sendto(socket.get(), data.data(), static_cast<size_t>(size), 0, generic, bytes);
    }
  }
  Fd socket;
  uint16_t port = 0;
};

void allow_descriptors(rlim_t count) {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  REQUIRE(limit.rlim_max >= count);
  limit.rlim_cur = std::max(limit.rlim_cur, count);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

}  // namespace

TEST_CASE("flows of all instances reach their host sockets and come back") {
  EngineBed bed = make_engine_bed();
  const UdpServer server;
  constexpr uint16_t kFlows_count = 500;
  size_t arrived = 0;
  for (uint16_t i = 0; i < kFlows_count; ++i) {
    bed.send_udp(static_cast<uint16_t>(5000 + i), server.port);
    if (i % 100 == 99) arrived += server.echo();  // before its queue is full
  }
  CHECK(arrived == kFlows_count);
  bed.run(64);
  std::set<uint16_t> answered;
  for (const auto& frame : bed.frames) {
    const auto parsed = packets::parse_frame(frame);
    REQUIRE(parsed.udp);
    CHECK(parsed.destination() == packets::ip("10.0.2.15"));
    answered.insert(parsed.udp->destination_port);
  }
  CHECK(answered.size() == kFlows_count);
}

TEST_CASE("a busy flow does not make libslirp look at the idle ones") {
  allow_descriptors(4096);
  EngineBed bed = make_engine_bed();
  const UdpServer server;
  constexpr uint64_t kIdle_count = 2000;
  for (uint16_t i = 0; i < kIdle_count; ++i) {
    bed.send_udp(static_cast<uint16_t>(5000 + i), server.port);
    if (i % 100 == 0) {
      bed.run(1);
      server.echo();
    }
  }
  bed.run(64);
  server.echo();
  bed.run(64);

  constexpr uint64_t kTicks_count = 200;
  const uint64_t before = bed.engine.socket_visits_count();
  for (uint64_t i = 0; i < kTicks_count; ++i) {
    bed.send_udp(4000, server.port);
    bed.end_tick();
  }
  const uint64_t visits = bed.engine.socket_visits_count() - before;
  CHECK(visits >= kTicks_count);  // it was asked for each time
  // An instance's share is 31; four times that is more than chance ever makes of it.
  CHECK(visits < kTicks_count * 4 * kIdle_count / NatEngine::kInstances_count);
}

TEST_CASE("idle connections are looked after in rounds, and nothing is without them") {
  EngineBed bed = make_engine_bed();
  bed.run(64);
  CHECK(bed.loop.next_deadline_ns() >
        bed.clock.monotonic_ns() + kSecond_ns);  // advertisements only
  const UdpServer server;
  for (uint16_t i = 0; i < 300; ++i) bed.send_udp(static_cast<uint16_t>(5000 + i), server.port);
  bed.end_tick();
  bed.run(64);
  const uint64_t before = bed.engine.socket_visits_count();
  uint64_t ticks_count = 0;
  const uint64_t end_ns = bed.clock.monotonic_ns() + 600 * kMillisecond_ns;
  for (; bed.clock.monotonic_ns() < end_ns; ++ticks_count) bed.loop.tick(100 * kMillisecond_ns);
  CHECK(bed.engine.socket_visits_count() - before >= 300);
  CHECK(ticks_count < 64);  // one round of eight ticks or two, and a few waits of 100 ms
}

TEST_CASE("one instance speaks for all") {
  EngineBed bed = make_engine_bed();
  const auto ask = [&](const Builder& question) {
    bed.frames.clear();
    bed.engine.input(question.build());
    bed.run();
    return bed.frames.size();
  };
  CHECK(ask(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.15", "10.0.2.3")) == 1);
  CHECK(ask(Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.2").echo_request(5, 9)) ==
        1);
}

TEST_CASE("a forward's answers find the instance that listens") {
  EngineBed bed = make_engine_bed();
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  socklen_t bytes = to_sockaddr(packets::ip("127.0.0.1"), 0, address);
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), bytes) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
  bed.engine.lead_in(listener.get(), Protocol::kTcp, packets::ip("10.0.2.15"), 80);

  const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  CHECK(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), bytes) != 0);
  bed.run();
  REQUIRE(bed.frames.size() == 1);
  const auto syn = packets::parse_frame(bed.frames[0]);
  REQUIRE(syn.tcp);
  CHECK(syn.tcp->flags == kTcpSyn);
  CHECK(syn.tcp->destination_port == 80);
  bed.frames.clear();
  bed.engine.input(Builder()
                       .eth(kGuest, kGatewayMac)
                       .ip("10.0.2.15", "10.0.2.2")
                       .tcp(80, syn.tcp->source_port, kTcpSyn | kTcpAck, 7, syn.tcp->seq + 1)
                       .build());
  bed.run();
  REQUIRE(bed.frames.size() == 1);
  const auto ack = packets::parse_frame(bed.frames[0]);
  REQUIRE(ack.tcp);
  CHECK(ack.tcp->flags == kTcpAck);  // a stranger's answer would have been a RST
}
