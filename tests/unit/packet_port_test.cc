#include "netstack/port/packet_port.h"

#include <doctest/doctest.h>

#include "netstack/base/error.h"
#include "netstack/port/memory_port.h"
#include "tests/packets/packets.h"
#include "tests/unit/link_fixture.h"

using namespace netstack;
using packets::Builder;

namespace {

constexpr auto kA = "52:54:00:00:00:0a";
constexpr auto kB = "52:54:00:00:00:0b";
constexpr uint8_t kNeedsChecksum = 1;
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoUdpFragments = 3;  // VIRTIO_NET_HDR_GSO_UDP: no segments of their own
constexpr uint8_t kGsoTcp6 = 4;

// A veth pair: a PacketPort joins "joined", the test holds "far".
struct Pair {
  Pair() {
    enter_quiet_network();
    ip("link add joined type veth peer name far");
    ip("link set joined up");
    ip("link set far up");
    await_way("joined");
    await_way("far");
    far = std::make_unique<RawLink>("far");
    port = static_cast<PacketPort*>(host.add(open_packet(loop, host, "joined")));
  }
  ~Pair() {
    for (auto& owned : host.ports) owned->detach();
    host.ports.clear();
    std::system("ip link del joined 2>/dev/null");
  }
  bool settle(size_t frame_count) {
    return tick_until(loop, [&] { return host.received.size() >= frame_count; });
  }

  SystemClock clock;
  Loop loop{clock};
  TestHost host{loop};
  std::unique_ptr<RawLink> far;
  PacketPort* port = nullptr;
};

VnetHeaderWire order(uint8_t gso_type, uint16_t gso_bytes, size_t ip_size, size_t transport_size,
                     uint16_t checksum_offset) {
  VnetHeaderWire header{};
  header.flags = kNeedsChecksum;
  header.gso_type = gso_type;
  header.gso_bytes = gso_bytes;
  header.checksum_start = static_cast<uint16_t>(kEthernetHeadBytes + ip_size);
  header.head_bytes = static_cast<uint16_t>(header.checksum_start + transport_size);
  header.checksum_offset = checksum_offset;
  return header;
}

// A switch with one way through.
struct Through final : Sink {
  explicit Through(Port& port) : out(port) {}
  void receive(PortId, std::span<Frame> burst) noexcept override { out.send(burst); }
  Port& out;
};

Builder udp_frame(size_t payload_size) {
  return Builder().eth(kA, kB).ip("192.0.2.1", "192.0.2.2").udp(7, 8).payload_bytes(payload_size);
}

}  // namespace

TEST_CASE("frames pass both ways, whole and in order, and our own do not come back") {
  Pair pair;
  std::vector<Bytes> sent;
  for (uint32_t i = 0; i < 200; ++i) sent.push_back(numbered_frame(60 + i * 7 % 1400, i));
  constexpr size_t kPart_count = 50;  // fit into buffers that only root could make larger
  for (size_t i = 0; i < sent.size(); ++i) {
    REQUIRE(pair.far->send(sent[i]));
    if ((i + 1) % kPart_count == 0) REQUIRE(pair.settle(i + 1));
  }
  CHECK(pair.host.received == sent);
  CHECK(pair.host.largest_burst > 1);

  for (auto from = sent.begin(); from != sent.end(); from += kPart_count) {
    const std::vector<Bytes> part(from, from + kPart_count);
    send_all(*pair.port, part);
    CHECK(pair.far->receive_all() == part);
  }
  for (int i = 0; i < 5; ++i) pair.loop.tick(0);
  CHECK(pair.host.received.size() == sent.size());
  CHECK(pair.port->counters().egress_frames == sent.size());
  CHECK(pair.port->counters().dropped() == 0);
}

TEST_CASE("a partial checksum is handed on as such and finished on the way out") {
  Pair pair;
  const Bytes partial = udp_frame(100).partial_checksum().build();
  REQUIRE(pair.far->send(partial, order(0, 0, kIpv4HeadBytes, kUdpHeadBytes, 6)));
  REQUIRE(pair.settle(1));
  REQUIRE(pair.host.received[0] == partial);

  // The same, through another port.
  MemoryPort out("out");
  Through through(out);
  pair.port->detach();
  pair.port->attach(through, 1);
  REQUIRE(pair.far->send(partial, order(0, 0, kIpv4HeadBytes, kUdpHeadBytes, 6)));
  REQUIRE(tick_until(pair.loop, [&] { return out.received_count() == 1; }));
  CHECK(packets::parse_frame(out.take()[0]).transport_checksum_valid);
}

TEST_CASE("super-frames come whole; a port without offloads puts segments out in their place") {
  Pair pair;
  MemoryPort out("out");
  Through through(out);
  pair.port->detach();
  pair.port->attach(through, 1);
  const auto tcp = [](bool v6) {
    Builder builder;
    builder.eth(kA, kB);
    v6 ? builder.ip("2001:db8::1", "2001:db8::2") : builder.ip("192.0.2.1", "192.0.2.2");
    return builder.tcp(1, 2, kTcpAck, 1000).payload_bytes(20'000).partial_checksum().build();
  };
  REQUIRE(pair.far->send(numbered_frame(60, 1)));
  REQUIRE(pair.far->send(tcp(false), order(kGsoTcp4, 1448, kIpv4HeadBytes, kTcpHeadBytes, 16)));
  REQUIRE(pair.far->send(numbered_frame(60, 2)));
  REQUIRE(pair.far->send(tcp(true), order(kGsoTcp6, 1428, kIpv6HeadBytes, kTcpHeadBytes, 16)));
  REQUIRE(tick_until(pair.loop, [&] { return out.received_count() == 1 + 14 + 1 + 15; }));
  CHECK(pair.port->counters().ingress_frames == 4);
  const std::vector<Bytes> received = out.take();
  CHECK(received[0] == numbered_frame(60, 1));
  CHECK(received[15] == numbered_frame(60, 2));
  size_t payload_size = 0;
  for (size_t at = 0; at < received.size(); ++at) {
    if (at == 0 || at == 15) continue;
    CAPTURE(at);
    const auto segment = packets::parse_frame(received[at]);
    REQUIRE(segment.tcp);
    CHECK(segment.transport_checksum_valid);
    CHECK(received[at].size() <= 1514);
    payload_size += segment.text().size();
  }
  CHECK(payload_size == 40'000);
  CHECK(pair.port->counters().dropped() == 0);
}

TEST_CASE("a super-frame of a kind that cannot be cut is dropped and counted") {
  Pair pair;
  if (!pair.far->send(udp_frame(4000).partial_checksum().build(),
                      order(kGsoUdpFragments, 1480, kIpv4HeadBytes, kUdpHeadBytes, 6))) {
    return;  // this kernel knows no such super-frames: then none can come
  }
  REQUIRE(pair.far->send(numbered_frame(60, 1)));
  REQUIRE(pair.settle(1));
  CHECK(pair.host.received.back() == numbered_frame(60, 1));
}

TEST_CASE("VLAN tags that the kernel takes out are put back: one, a stack, a priority") {
  Pair pair;
  const std::vector<Bytes> sent = {
      udp_frame(50).tag(42, 5).build(),
      udp_frame(50).tag(7, 0, kEthertypeServiceVlan).tag(42, 3).build(),
      udp_frame(50).tag(0, 6).build(),
      udp_frame(50).tag(1, 0).tag(2, 0).tag(3, 0).build(),
      udp_frame(1472).tag(42).build(),  // full size and a tag
  };
  for (const Bytes& frame : sent) REQUIRE(pair.far->send(frame));
  REQUIRE(pair.settle(sent.size()));
  for (size_t i = 0; i < sent.size(); ++i) {
    CAPTURE(i);
    CHECK(pair.host.received[i] == sent[i]);
  }

  send_all(*pair.port, sent);
  CHECK(pair.far->receive_all().size() == sent.size());
  CHECK(pair.port->counters().egress_frames == sent.size());
  CHECK(pair.port->counters().dropped() == 0);
}

TEST_CASE("a tagged frame's partial checksum and segmentation count from behind the tag") {
  Pair pair;
  const Bytes partial = udp_frame(64).tag(42).partial_checksum().build();
  VnetHeaderWire header = order(0, 0, kIpv4HeadBytes, kUdpHeadBytes, 6);
  header.checksum_start += kTagBytes;
  struct Look final : Sink {
    Offload offload;
    size_t count = 0;
    void receive(PortId, std::span<Frame> burst) noexcept override {
      offload = burst[0].offload;
      count += burst.size();
    }
  } look;
  pair.port->detach();
  pair.port->attach(look, 1);
  REQUIRE(pair.far->send(partial, header));
  REQUIRE(tick_until(pair.loop, [&] { return look.count == 1; }));
  CHECK(look.offload.needs_checksum);
  CHECK(look.offload.checksum_start == header.checksum_start);
  CHECK(look.offload.checksum_offset == 6);
}

TEST_CASE("what the interface does not take is dropped alone and counted") {
  Pair pair;
  const Bytes before = numbered_frame(60, 1);
  const Bytes after = numbered_frame(60, 2);
  send_all(*pair.port, {before, numbered_frame(4000, 3), after});
  CHECK(pair.far->receive_all() == std::vector<Bytes>{before, after});
  CHECK(pair.port->counters().egress_frames == 2);
  CHECK(pair.port->counters().egress_bytes == 120);
  CHECK(pair.port->counters().dropped(DropReason::kTooLong) == 1);
}

TEST_CASE("the port ends when the interface goes down or away, and says which") {
  struct Row {
    const char* command;
    const char* why;
  };
  for (const Row& row : {Row{"link set joined down", "the interface went down"},
                         Row{"link del joined", "the interface was removed"}}) {
    CAPTURE(row.command);
    Pair pair;
    ip(row.command);
    REQUIRE(tick_until(pair.loop, [&] { return pair.host.ports.empty(); }));
    REQUIRE(pair.host.reasons.size() == 1);
    CHECK(pair.host.reasons[0] == row.why);
  }
}

TEST_CASE("sending into an interface that is down counts as drops and harms nothing") {
  Pair pair;
  ip("link set joined down");
  send_all(*pair.port, {numbered_frame(60, 1), numbered_frame(60, 2)});
  CHECK(pair.port->counters().dropped(DropReason::kPeerGone) == 2);
  CHECK(tick_until(pair.loop, [&] { return pair.host.ports.empty(); }));
}

TEST_CASE("interfaces that cannot be joined, each with its line") {
  enter_quiet_network();
  SystemClock clock;
  Loop loop(clock);
  TestHost host(loop);
  ip("link add quiet type veth peer name quiet2");
  const auto refusal = [&](const std::string& name) -> std::string {
    try {
      open_packet(loop, host, name);
    } catch (const Error& error) {
      return error.what();
    }
    return "joined";
  };
  CHECK(refusal("nowhere").find("`ip link` lists") != std::string::npos);
  CHECK(refusal("quiet").find("it is down; run `ip link set quiet up`") != std::string::npos);
  CHECK(refusal("lo").find("no Ethernet frames") != std::string::npos);
  for (const char* bad : {"", "a/b", "sixteen-letters-", "a b", ".."}) {
    CHECK(refusal(bad).find("as an interface's name") != std::string::npos);
  }
  ip("link del quiet");
}
