// A guest's frames into the gateway, with a host behind it: a namespace that has nothing but "lo",
// where 192.0.2.1 and port 7 (TCP and UDP) answer. Nothing can leave: without such a namespace the
// fuzzer refuses to start. Checked: what the guest gets is well-formed, with right checksums, no
// longer than a link carries, and an echo reply comes only from an address that exists.
//
// The NAT engine is not built with the fuzzer's instrumentation: this is about what the gateway
// lets through to it and what it makes of its answers.
//
//   input: configuration │ records: operation (low 3 bits) │ kFrame: size (2), bytes;
//   kPacket: mending (1), size (2), an IP packet; kWait: time (1)
#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/checksum.h"
#include "netstack/base/error.h"
#include "netstack/gateway/gateway.h"
#include "tests/fuzz/input.h"
#include "tests/packets/packets.h"
#include "tests/unit/private_network.h"

using namespace netstack;
using packets::Bytes;

namespace {

constexpr size_t kRecords_count = 64;  // of an input; the rest is not looked at
constexpr size_t kFrameToGuest_max = 1514;
constexpr uint16_t kServed_port = 7;
constexpr uint16_t kForwarded_port = 40'022;
constexpr auto kGuest = "52:54:00:00:00:01";
constexpr auto kGatewayMac = "52:55:0a:00:02:02";
constexpr auto kGatewayMac6 = "52:56:00:00:00:02";
constexpr auto kElsewhere = "192.0.2.1";

enum class Operation : uint8_t { kFrame, kPacket, kWait, kServe, kCall, kHangUp };

// How a packet of the input is made one that is listened to.
enum Mending : uint8_t {
  kLengths = 1,
  kChecksums = 2,
  kFollow = 4,  // TCP numbers go on where the conversation is
  kFromGuest = 8,
  kToElsewhere = 16,
  kToPort = 32,
  kBroadcast = 64,
};

// --- the host's side ----------------------------------------------------------------------------

sockaddr_in local(const char* address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  ::inet_pton(AF_INET, address, &out.sin_addr);
  return out;
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Fd served_socket(int type) {
  Fd socket(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_in address = local("0.0.0.0", kServed_port);
  check(::bind(socket.get(), generic(address), sizeof address) == 0, "port 7 is bound");
  if (type == SOCK_STREAM) check(::listen(socket.get(), 64) == 0, "port 7 is served");
  return socket;
}

// A descriptor that is closed without a TIME_WAIT that would fill the namespace.
void close_at_once(Fd& socket) {
  const linger now{1, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  socket.reset();
}

class Host {
 public:
  Host() {
    add_address();
    tcp_ = served_socket(SOCK_STREAM);
    udp_ = served_socket(SOCK_DGRAM);
  }
  // Takes who has come and says back what was said.
  void serve() {
    for (;;) {
      Fd client(::accept4(tcp_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!client) break;
      clients_.push_back(std::move(client));
    }
    std::array<char, 2048> bytes;
    for (const Fd& client : clients_) {
      const ssize_t got = ::recv(client.get(), bytes.data(), bytes.size(), 0);
      if (got > 0) ::send(client.get(), bytes.data(), static_cast<size_t>(got), MSG_NOSIGNAL);
    }
    sockaddr_in from{};
    socklen_t from_size = sizeof from;
    const ssize_t got = ::recvfrom(udp_.get(), bytes.data(), bytes.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from), &from_size);
    if (got >= 0) {
      ::sendto(udp_.get(), bytes.data(), static_cast<size_t>(got), 0, generic(from), from_size);
    }
  }
  void call_forward() {
    Fd caller(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const sockaddr_in address = local("127.0.0.1", kForwarded_port);
    static_cast<void>(::connect(caller.get(), generic(address), sizeof address));
    ::send(caller.get(), "hello", 5, MSG_NOSIGNAL);
    clients_.push_back(std::move(caller));
  }
  void hang_up() {
    serve();
    for (Fd& client : clients_) close_at_once(client);
    clients_.clear();
  }

 private:
  void add_address() {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo:1");
    const sockaddr_in address = local(kElsewhere, 0);
    std::memcpy(&request.ifr_addr, &address, sizeof address);
    check(::ioctl(socket.get(), SIOCSIFADDR, &request) == 0, "lo gets a second address");
    const sockaddr_in mask = local("255.255.255.255", 0);  // or all of its network would answer
    std::memcpy(&request.ifr_netmask, &mask, sizeof mask);
    check(::ioctl(socket.get(), SIOCSIFNETMASK, &request) == 0, "and no more than that one");
  }

  Fd tcp_;
  Fd udp_;
  std::vector<Fd> clients_;
};

Host& host() {
  static Host one;
  return one;
}

// --- the guest ----------------------------------------------------------------------------------

bool exists(const IpAddress& address) {
  const GatewayNetwork network;
  return network.contains(address) || address == packets::ip(kElsewhere) ||
         (!address.v6 && address.octets[0] == 127) || address.v6;
}

// As netstack::check, with the frame that is wrong.
void expect(bool ok, const char* what, const Bytes& frame) {
  if (!ok) fmt::print(stderr, "{}\n", packets::describe(frame));
  check(ok, what);
}

void judge_ip(const packets::Parsed& parsed, const Bytes& frame) {
  expect(parsed.ipv4 || parsed.ipv6, "an IP packet to the guest has a sound header", frame);
  if (parsed.ipv4 && parsed.ipv4->is_fragment()) return;
  expect(parsed.udp || parsed.tcp || parsed.icmp, "and a transport", frame);
  expect(parsed.transport_checksum_valid, "with a right checksum", frame);
  if (parsed.icmp && parsed.icmp->echo) {
    expect(parsed.icmp->echo->reply, "nobody pings the guest", frame);
    expect(exists(parsed.source()), "an echo reply comes from an address that is there", frame);
  }
}

class Guest final : public Sink {
 public:
  void receive(PortId, std::span<Frame> burst) noexcept override {
    for (const Frame& frame : burst) {
      Bytes bytes(frame.bytes);
      copy_frame(frame, bytes.data());
      judge(bytes);
    }
  }
  // Where the conversation is, as the last segment from there had it.
  struct Numbers {
    uint32_t seq = 1;
    uint32_t ack = 0;
    uint16_t source_port = 1024;
  };
  const Numbers& numbers() const { return numbers_; }

 private:
  void judge(const Bytes& bytes) {
    expect(bytes.size() >= kEthernetHeadBytes && bytes.size() <= kFrameToGuest_max,
           "a frame to the guest fits its link", bytes);
    const packets::Parsed parsed = packets::parse_frame(bytes);
    expect(parsed.eth->source.octets[0] == 0x52 && (parsed.eth->source.octets[1] & 0xfcU) == 0x54,
           "a frame to the guest comes from the gateway", bytes);
    const uint16_t type = parsed.eth->ethertype;
    expect(type == kEthertypeArp || type == kEthertypeIpv4 || type == kEthertypeIpv6,
           "a frame to the guest is ARP or IP", bytes);
    if (type == kEthertypeArp)
      return expect(parsed.arp.has_value(), "ARP to the guest is whole", bytes);
    judge_ip(parsed, bytes);
    if (!parsed.tcp) return;
    const bool counts = (parsed.tcp->flags & (kTcpSyn | kTcpFin)) != 0;
    numbers_ = {
        parsed.tcp->ack,
        parsed.tcp->seq + static_cast<uint32_t>(parsed.tcp->payload.size()) + (counts ? 1 : 0),
        parsed.tcp->destination_port};
  }

  Numbers numbers_;
};

void put(std::span<uint8_t> packet, size_t at, const IpAddress& address) {
  const size_t size = address.v6 ? 16 : 4;
  if (packet.size() >= at + size) std::memcpy(&packet[at], address.octets.data(), size);
}

void mend_tcp(std::span<uint8_t> tcp, const Guest::Numbers& numbers) {
  if (tcp.size() < kTcpHeadBytes) return;
  write_u16(tcp.data(), numbers.source_port);
  write_u32(&tcp[4], numbers.seq);
  write_u32(&tcp[8], numbers.ack);
}

void mend_checksum(std::span<uint8_t> packet, std::span<uint8_t> transport, uint8_t protocol) {
  const size_t at = protocol == kProtocolTcp ? 16 : protocol == kProtocolUdp ? 6 : 2;
  if (transport.size() < at + 2) return;
  const bool v6 = packet[0] >> 4U == 6;
  const auto address = [&](size_t from) {
    return v6 ? IpAddress::read_v6(&packet[from]) : IpAddress::read_v4(&packet[from]);
  };
  write_u16(&transport[at], 0);
  const uint16_t sum =
      protocol == kProtocolIcmp
          ? internet_checksum(transport)
          : transport_checksum(address(v6 ? 8 : 12), address(v6 ? 24 : 16), protocol, transport);
  write_u16(&transport[at], sum);
}

void mend(std::span<uint8_t> packet, uint8_t mending, const Guest::Numbers& numbers) {
  const bool v6 = !packet.empty() && packet[0] >> 4U == 6;
  const size_t head_size = v6 ? 40 : packet.empty() ? 20 : (packet[0] & 15U) * 4U;
  if (packet.size() < head_size || head_size < 20) return;
  const std::span<uint8_t> transport = packet.subspan(head_size);
  const uint8_t protocol = packet[v6 ? 6 : 9];
  if ((mending & kFromGuest) != 0)
    put(packet, v6 ? 8 : 12, packets::ip(v6 ? "fec0::15" : "10.0.2.15"));
  if ((mending & kToElsewhere) != 0 && !v6) put(packet, 16, packets::ip(kElsewhere));
  if ((mending & kToPort) != 0 && transport.size() >= 4) write_u16(&transport[2], kServed_port);
  if ((mending & kFollow) != 0 && protocol == kProtocolTcp) mend_tcp(transport, numbers);
  if ((mending & kLengths) != 0) {
    write_u16(&packet[v6 ? 4 : 2], static_cast<uint16_t>(v6 ? transport.size() : packet.size()));
    if (protocol == kProtocolUdp && transport.size() >= kUdpHeadBytes) {
      write_u16(&transport[4], static_cast<uint16_t>(transport.size()));
    }
  }
  if ((mending & kChecksums) == 0) return;
  mend_checksum(packet, transport, protocol);
  if (v6) return;
  write_u16(&packet[10], 0);
  write_u16(&packet[10], internet_checksum(packet.first(head_size)));
}

// --- a life -------------------------------------------------------------------------------------

GatewayConfig config_of(uint8_t bits) {
  GatewayConfig config;
  config.dhcp = (bits & 1U) == 0;
  config.ipv6 = (bits & 2U) == 0;
  if ((bits & 4U) != 0) {
    config.forwards.push_back(
        HostForward::parse(fmt::format("tcp:127.0.0.1:{}-:22", kForwarded_port)));
  }
  if ((bits & 8U) != 0) config.network.nameserver_elsewhere = packets::ip(kElsewhere);
  return config;
}

struct QuietLog final : Log {
  void line(std::string_view text) override {
    check(!text.empty() && text.find('\n') == std::string_view::npos, "a log line is one line");
  }
};

class Life {
 public:
  explicit Life(uint8_t config_bits) : gateway_(loop_, config_of(config_bits), log_) {
    gateway_.attach(guest_, 1);
    send(packets::Builder()  // the engine answers only whom it has heard of
             .eth(kGuest, "ff:ff:ff:ff:ff:ff")
             .arp_request("10.0.2.15", "10.0.2.2")
             .build());
    if (gateway_.forwards().count() != 0) let_clients_in();
  }
  void run(tests::Input& input) {
    for (size_t at = 0; at < kRecords_count && !input.empty(); ++at) step(input);
    turn();
  }

 private:
  // Forwards are open to the host only once the guest has answered.
  void let_clients_in() {
    send(packets::Builder()
             .eth(kGuest, kGatewayMac)
             .ip("10.0.2.15", "10.0.2.2")
             .tcp(22, Forwards::kProbePort, kTcpSyn | kTcpAck, 1, guest_.numbers().ack)
             .build());
  }
  void step(tests::Input& input) {
    switch (static_cast<Operation>(input.u8() & 7U)) {
      case Operation::kFrame: {
        const auto bytes = input.bytes(input.u16());
        return send({bytes.begin(), bytes.end()});
      }
      case Operation::kPacket: {
        const uint8_t mending = input.u8();
        const auto bytes = input.bytes(input.u16());
        return send_packet({bytes.begin(), bytes.end()}, mending);
      }
      case Operation::kWait: {
        const uint8_t time = input.u8();
        clock_.advance_ns((time & 0x80U) != 0 ? (time & 0x7fU) * kSecond_ns
                                              : time * 8 * kMillisecond_ns);
        return turn();
      }
      case Operation::kServe:
        host().serve();
        return turn();
      case Operation::kCall:
        host().call_forward();
        return turn();
      case Operation::kHangUp:
        host().hang_up();
        return turn();
    }
  }
  void send_packet(Bytes packet, uint8_t mending) {
    mend(packet, mending, guest_.numbers());
    const bool v6 = !packet.empty() && packet[0] >> 4U == 6;
    const char* to = (mending & kBroadcast) != 0 ? "ff:ff:ff:ff:ff:ff"
                     : v6                        ? kGatewayMac6
                                                 : kGatewayMac;
    if (packet.empty()) return;
    send(packets::Builder().eth(kGuest, to).ip_packet(packet).build());
  }
  void send(const Bytes& bytes) {
    Frame frame;
    iovec body{};
    if (!view_frame(bytes.data(), bytes.size(), frame, body)) return;
    gateway_.send({&frame, 1});
    turn();
  }
  void turn() {
    for (int i = 0; i < 2; ++i) loop_.tick(0);
  }

  ManualClock clock_;
  Loop loop_{clock_};
  QuietLog log_;
  Guest guest_;
  Gateway gateway_;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  try {
    tests::enter_private_network();
    tests::set_ping_group_range("0 0");
  } catch (const Error& error) {
    fmt::print(stderr, "cannot fuzz the gateway, whose packets must not leave: {}\n", error.what());
    std::exit(1);
  }
  host();
  Life(0);  // what is opened once is open before descriptors are counted
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  const int before_count = tests::low_descriptor_count();
  {
    Life life(input.u8());
    life.run(input);
  }
  host().hang_up();
  check(tests::low_descriptor_count() == before_count, "no descriptor is left open");
  return 0;
}
