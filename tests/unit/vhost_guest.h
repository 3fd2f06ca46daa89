#pragma once

#include <doctest/doctest.h>

#include "netstack/port/memory_port.h"
#include "netstack/port/vnet_header.h"
#include "netstack/vhost_user/vhost_user_port.h"
#include "tests/packets/packets.h"
#include "tests/unit/vhost_front_end.h"

// A guest on a VhostUserPort, played by a test.
namespace vhost_bed {

using namespace netstack;
using packets::Builder;

constexpr auto kA = "52:54:00:00:00:0a";
constexpr auto kB = "52:54:00:00:00:0b";
constexpr uint64_t kChecksums = 1ULL << 0U | 1ULL << 1U;
constexpr uint64_t kSegments = 1ULL << 7U | 1ULL << 8U | 1ULL << 11U | 1ULL << 12U;
constexpr uint64_t kMergeable = 1ULL << 15U;
constexpr uint64_t kPlain = kFeatureVersion1 | kFeatureProtocolFeatures;
constexpr size_t kHeader_size = 12;

// A switch of two: the guest's port, and one that keeps what it gets.
struct Wire final : Sink {
  void receive(PortId ingress, std::span<Frame> burst) noexcept override {
    for (const Frame& frame : burst) offloads.push_back(frame.offload);
    if (ingress == 1 && out != nullptr) out->send(burst);
  }
  Port* out = nullptr;
  std::vector<Offload> offloads;
};

class Host final : public PortHost {
 public:
  explicit Host(Loop& loop) : loop_(loop) {}
  Port* add(std::unique_ptr<Port>) override { return nullptr; }
  void remove(Port& port, std::string_view why) override {
    reasons.emplace_back(why);
    loop_.at_end_of_tick([this, gone = &port] {
      if (gone == owned.get()) owned.reset();
    });
  }
  std::unique_ptr<VhostUserPort> owned;
  std::vector<std::string> reasons;

 private:
  Loop& loop_;
};

// One guest on a port: memory, rings and an agreement on features.
struct Guest {
  // `chosen`: the clock to go by; null: the system's.
  explicit Guest(uint64_t features, uint16_t pair_count = 1, uint16_t ring_count = 64,
                 Clock* chosen = nullptr)
      : loop(chosen != nullptr ? *chosen : system_clock), host(loop), out("out") {
    packed = (features & kFeatureRingPacked) != 0;
    host.owned = std::make_unique<VhostUserPort>(loop, host, poller, std::move(front.back_end),
                                                 "vhost-user 1");
    port = host.owned.get();
    port->attach(wire, 1);
    wire.out = &out;
    front.send(VhostUserRequest::kSetOwner);
    front.send(VhostUserRequest::kSetFeatures, features);
    front.share(ram);
    for (uint32_t i = 0; i < 2U * pair_count; ++i) {
      rings.push_back(std::make_unique<DriverRing>(ram, ring_count, packed));
      kicks.push_back(make_event());
      calls.push_back(make_event());
      front.start_ring(i, *rings[i], kicks[i].get(), calls[i].get(), packed ? 0x8000 : 0);
    }
    settle();
    for (auto& call : calls) event_count(call);
  }
  ~Guest() {
    if (host.owned) host.owned->detach();
  }
  void settle() {
    for (int i = 0; i < 20; ++i) loop.tick(0);
  }
  void kick(size_t ring) {
    const uint64_t one = 1;
    (void)!::write(kicks[ring].get(), &one, sizeof one);
    settle();
  }
  // Sends as a guest does: header and frame in `piece_count` buffers.
  void send(const Bytes& frame, VnetHeaderWire header = {}, size_t piece_count = 1,
            bool indirect = false, size_t pair = 0) {
    Bytes bytes(kHeader_size);
    std::memcpy(bytes.data(), &header, sizeof header);
    bytes.insert(bytes.end(), frame.begin(), frame.end());
    std::vector<Buffer> buffers;
    for (size_t i = 0; i < piece_count; ++i) {
      const size_t from = bytes.size() * i / piece_count;
      const size_t to = bytes.size() * (i + 1) / piece_count;
      buffers.push_back(
          {ram.put({bytes.begin() + from, bytes.begin() + to}), static_cast<uint32_t>(to - from)});
    }
    DriverRing& ring = *rings[2 * pair + 1];
    indirect ? ring.add_indirect(buffers, false) : ring.add(buffers, false);
  }
  void give_buffers(size_t count, uint32_t size, size_t pair = 0, size_t parts = 1) {
    for (size_t i = 0; i < count; ++i) {
      std::vector<Buffer> buffers;
      for (size_t at = 0; at < parts; ++at) buffers.push_back({ram.take(size, 1), size});
      given[pair].push_back(buffers);
      rings[2 * pair]->add(buffers, true);
    }
  }
  struct Received {
    VnetHeaderWire header;
    uint16_t buffer_count;
    Bytes frame;
  };
  // One frame out of the receive ring, from as many buffers as its header says.
  std::optional<Received> receive(size_t pair = 0) {
    Received got{};
    Bytes bytes;
    size_t left = 1;
    for (bool first = true; left > 0; --left, first = false) {
      const auto used = rings[2 * pair]->get_used();
      if (!used) {
        CHECK(first);
        return std::nullopt;
      }
      uint32_t size = used->size;
      for (const Buffer& buffer : given[pair][taken[pair]++]) {
        const uint32_t here = std::min(size, buffer.size);
        bytes.insert(bytes.end(), ram.at(buffer.address), ram.at(buffer.address) + here);
        size -= here;
      }
      CHECK(size == 0);
      if (!first) continue;
      REQUIRE(bytes.size() > kHeader_size);
      std::memcpy(&got.header, bytes.data(), sizeof got.header);
      std::memcpy(&got.buffer_count, &bytes[10], 2);
      left = got.buffer_count;
    }
    got.frame.assign(bytes.begin() + kHeader_size, bytes.end());
    return got;
  }

  SystemClock system_clock;
  Loop loop;
  VhostUserPoller poller{loop};
  Wire wire;
  Host host;
  MemoryPort out;
  GuestRam ram{32U << 20U};
  FrontEnd front;
  bool packed = false;
  VhostUserPort* port = nullptr;
  std::vector<std::unique_ptr<DriverRing>> rings;
  std::vector<Fd> kicks, calls;
  std::array<std::vector<std::vector<Buffer>>, 4> given;
  std::array<size_t, 4> taken{};
};

inline Builder tcp_frame(size_t payload_size, uint16_t port = 1) {
  return Builder()
      .eth(kA, kB)
      .ip("192.0.2.1", "192.0.2.2")
      .tcp(port, 2, kTcpAck, 1)
      .payload_bytes(payload_size);
}

inline VnetHeaderWire tcp_order(uint16_t mss) {
  return {.flags = 1,
          .gso_type = static_cast<uint8_t>(mss == 0 ? 0 : 1),
          .head_bytes = 54,
          .gso_bytes = mss,
          .checksum_start = 34,
          .checksum_offset = 16};
}

inline constexpr std::array kRingKinds{uint64_t{0}, kFeatureEventIndex, kFeatureRingPacked,
                                       kFeatureRingPacked | kFeatureEventIndex};

}  // namespace vhost_bed
