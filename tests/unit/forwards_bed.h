#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>

#include "tests/unit/gateway_bed.h"

// What the tests of forwards share: a guest played by the test on a clock that the test moves, and
// clients on the host.
namespace tests {

inline constexpr auto kGuestAddress = "10.0.2.15";
inline constexpr auto kGuestAddress6 = "fec0::15";

struct ForwardBed {
  ForwardBed() {
    gateway.attach(guest, 1);
    gateway.forwards().watch([this](const ForwardEvent& event) {
      const char* kinds[] = {"added", "removed", "changed"};
      events.push_back(fmt::format("{} {} {}", kinds[static_cast<size_t>(event.kind)],
                                   event.forward.number, forward_state_name(event.forward.state)));
    });
  }

  uint32_t add(const std::string& text) {
    return gateway.forwards().add(HostForward::parse(text)).front();
  }
  const Forward& at(uint32_t number) {
    const Forward* forward = gateway.forwards().find(number);
    REQUIRE(forward != nullptr);
    return *forward;
  }
  uint16_t port(uint32_t number) { return at(number).rule.host_port; }

  void send(const Builder& builder) { send(builder.build()); }
  void send(const Bytes& bytes) {
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
    gateway.send({&frame, 1});
    run();
  }
  void run(int ticks = 4) {
    for (int i = 0; i < ticks; ++i) {
      loop.tick(2 * kMillisecond_ns);
      serve();
    }
  }
  void pass_ms(uint64_t ms) {
    for (uint64_t passed = 0; passed < ms; passed += 50) {
      clock.advance_ns(50 * kMillisecond_ns);
      run(2);
    }
  }

  // The guest: it has an address when it is `there`, listens at the ports `listening`, is a
  // firewall when `silent`, and remembers what it has seen.
  void serve() {
    for (const Bytes& bytes : std::exchange(guest.frames, {})) {
      const auto frame = packets::parse_frame(bytes);
      if (frame.arp && frame.arp->operation == kArpRequest) {
        ++arp_count;
        if (there && frame.arp->target_ip == packets::ip(kGuestAddress)) {
          send(Builder().eth(kGuest, kGatewayMac).arp_reply(kGuestAddress, "10.0.2.2"));
        }
      }
      if (frame.icmp && frame.icmp->ndp && !frame.icmp->ndp->advertisement) {
        if (there && frame.icmp->ndp->target == packets::ip(kGuestAddress6)) {
          send(Builder()
                   .eth(kGuest, kGatewayMac6)
                   .ip(kGuestAddress6, "fec0::2")
                   .ttl(255)
                   .neighbour_advertisement(kGuestAddress6));
        }
      }
      if (frame.tcp) take(bytes);
      if (frame.udp) datagrams.push_back(bytes);
    }
  }
  void take(const Bytes& bytes) {
    const auto frame = packets::parse_frame(bytes);
    CHECK(frame.transport_checksum_valid);
    const Tcp& tcp = *frame.tcp;
    const bool probe = tcp.source_port == Forwards::kProbePort;
    if (probe && (tcp.flags & kTcpRst) != 0) ++ended_probe_count;
    if (!probe) seen.push_back(bytes);
    if (tcp.flags != kTcpSyn) return;
    probe ? ++probe_count : ++client_count;
    if (!there || silent) return;
    const bool listens = listening.contains(tcp.destination_port);
    answer(bytes, listens ? kTcpSyn | kTcpAck : kTcpRst | kTcpAck, tcp.seq + 1);
  }
  void answer(const Bytes& bytes, uint8_t flags, uint32_t ack) {
    const auto frame = packets::parse_frame(bytes);
    send(Builder()
             .eth(kGuest, frame.source().v6 ? kGatewayMac6 : kGatewayMac)
             .ip(frame.destination(), frame.source())
             .tcp(frame.tcp->destination_port, frame.tcp->source_port, flags, kGuestSeq, ack));
  }
  // The guest says something on the connection of the last segment it got.
  void say(const std::string& text, uint8_t flags = kTcpAck | kTcpPsh) {
    REQUIRE_FALSE(seen.empty());
    const auto last = packets::parse_frame(seen.back());
    const auto& tcp = *last.tcp;
    const uint32_t after = (tcp.flags & (kTcpSyn | kTcpFin)) != 0 ? 1 : 0;
    const Bytes of = seen.back();
    send(Builder()
             .eth(kGuest, last.source().v6 ? kGatewayMac6 : kGatewayMac)
             .ip(last.destination(), last.source())
             .tcp(tcp.destination_port, tcp.source_port, flags, kGuestSeq + 1,
                  tcp.seq + static_cast<uint32_t>(tcp.payload.size()) + after)
             .payload(text));
  }
  // All that clients have said to the guest, in order.
  std::string heard() const {
    std::string text;
    for (const Bytes& bytes : seen) text += packets::parse_frame(bytes).text();
    return text;
  }

  static constexpr uint32_t kGuestSeq = 5000;
  bool there = true;
  bool silent = false;
  std::set<uint16_t> listening;
  std::vector<Bytes> seen;  // TCP segments of clients
  std::vector<Bytes> datagrams;
  unsigned probe_count = 0;
  unsigned ended_probe_count = 0;
  unsigned client_count = 0;
  unsigned arp_count = 0;
  std::vector<std::string> events;

  ManualClock clock;
  Loop loop{clock};
  TestLog log;
  Gateway gateway{loop, {}, log};
  Collect guest;
};

inline ForwardBed make_forward_bed() {
  static const PrivateNetwork once;
  return ForwardBed();
}

// A client on the host. Its connect is over when the constructor returns.
struct Client {
  Client(const std::string& address, uint16_t port, int type = SOCK_STREAM) {
    const auto ip = packets::ip(address);
    sockaddr_storage name{};
    const socklen_t bytes = to_sockaddr(ip, port, name);
    socket = Fd(::socket(ip.family(), type | SOCK_CLOEXEC, 0));
    connect(reinterpret_cast<const sockaddr*>(&name), bytes);
  }
  explicit Client(const std::string& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    socket = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    connect(reinterpret_cast<const sockaddr*>(&name), sizeof name);
  }
  void connect(const sockaddr* name, socklen_t bytes) {
    error = ::connect(socket.get(), name, bytes) == 0 ? 0 : errno;
  }
  void write(const std::string& text) const {
    CHECK(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(text.size()));
  }
  // What has come; "" for nothing yet, "EOF" for the end, "RST" for a reset.
  std::string read() const {
    std::string text(65'536, 0);
    const ssize_t size = ::recv(socket.get(), text.data(), text.size(), MSG_DONTWAIT);
    if (size > 0) return text.substr(0, static_cast<size_t>(size));
    if (size == 0) return "EOF";
    return errno == ECONNRESET ? "RST" : "";
  }

  Fd socket;
  int error = 0;
};

}  // namespace tests
