// What a frame costs between two guests' rings: ports, poller and switch in one process, with both
// guests' drivers played in the same loop (their share is BM_drivers_alone).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "netstack/port/port_host.h"
#include "netstack/vhost_user/vhost_user_port.h"
#include "netstack/virtio/ring_layout.h"
#include "vlan/switch.h"

using namespace netstack;

namespace {

constexpr uint64_t kSeed = 42;
constexpr uint16_t kRing_count = 256;
constexpr size_t kSlot_size = 2048;
constexpr size_t kHeader_size = 12;
constexpr size_t kBurst = 32;
constexpr uint64_t kFeatures = kFeatureVersion1 | kFeatureProtocolFeatures | 1ULL << 15U;

class Nobody final : public PortHost {
 public:
  Port* add(std::unique_ptr<Port>) override { return nullptr; }
  void remove(Port&, std::string_view) override { std::abort(); }
};

// A driver that knows its ring and hands buffers round: buffer i belongs to slot i.
class Ring {
 public:
  void place(uint8_t* base, uint64_t offset, bool packed, bool writes) {
    base_ = base;
    descriptors_ = offset;
    driver_ = offset + 16 * kRing_count;
    device_ = driver_ + 4096;
    buffers_ = device_ + 4096;
    packed_ = packed;
    writes_ = writes;
  }
  static constexpr size_t kSize = 16 * kRing_count + 8192 + kRing_count * kSlot_size;

  VringAddressWire address(uint32_t index) const {
    return {index, 0, descriptors_, device_, driver_, 0};
  }
  uint8_t* buffer(uint32_t slot) const { return base_ + buffers_ + slot * kSlot_size; }

  void give(uint32_t size) {
    const auto slot = static_cast<uint16_t>(given_ % kRing_count);
    const uint16_t write = writes_ ? kDescriptorWrite : 0;
    const uint64_t address = buffers_ + slot * kSlot_size;
    uint8_t* entry = base_ + descriptors_ + 16U * slot;
    if (packed_) {
      const bool wrap = given_ / kRing_count % 2 == 0;
      std::memcpy(entry, &address, 8);
      std::memcpy(entry + 8, &size, 4);
      std::memcpy(entry + 12, &slot, 2);
      store_release(entry + 14,
                    static_cast<uint16_t>(write | (wrap ? kDescriptorAvail : kDescriptorUsed)));
    } else {
      const SplitDescriptor descriptor{address, size, write, 0};
      std::memcpy(entry, &descriptor, 16);
      std::memcpy(base_ + driver_ + 4 + 2U * slot, &slot, 2);
    }
    ++given_;
  }
  void publish() {
    if (!packed_) store_release(base_ + driver_ + 2, static_cast<uint16_t>(given_));
  }
  size_t take() {
    size_t count = 0;
    if (!packed_) {
      const uint16_t used = load_acquire(base_ + device_ + 2);
      count = static_cast<uint16_t>(used - static_cast<uint16_t>(taken_));
      taken_ += static_cast<uint32_t>(count);
      return count;
    }
    for (;; ++taken_, ++count) {
      const bool wrap = taken_ / kRing_count % 2 == 0;
      const uint16_t flags = load_acquire(base_ + descriptors_ + 16 * (taken_ % kRing_count) + 14);
      const bool avail = (flags & kDescriptorAvail) != 0;
      if (avail != ((flags & kDescriptorUsed) != 0) || avail != wrap) return count;
    }
  }
  void no_calls() {
    const uint16_t off = 1;
    std::memcpy(base_ + driver_ + (packed_ ? 2 : 0), &off, 2);
  }

 private:
  uint8_t* base_ = nullptr;
  uint64_t descriptors_ = 0, driver_ = 0, device_ = 0, buffers_ = 0;
  uint32_t given_ = 0;
  uint32_t taken_ = 0;
  bool packed_ = false;
  bool writes_ = false;
};

struct Guest {
  Guest(Loop& loop, PortHost& host, VhostUserPoller& poller, bool packed) {
    file = Fd(::memfd_create("guest", MFD_CLOEXEC));
    constexpr size_t kRam_size = 2 * Ring::kSize;
    (void)!::ftruncate(file.get(), kRam_size);
    auto* base = static_cast<uint8_t*>(::mmap(nullptr, kRam_size, PROT_READ | PROT_WRITE,
                                              MAP_SHARED | MAP_POPULATE, file.get(), 0));
    std::array<int, 2> ends{};
    (void)!::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data());
    socket = Fd(ends[1]);
    port = std::make_unique<VhostUserPort>(loop, host, poller, Fd(ends[0]), "guest");
    send(VhostUserRequest::kSetFeatures, kFeatures | (packed ? kFeatureRingPacked : 0));
    struct {
      uint64_t count;
      MemoryRegionWire region;
    } table{1, {0, kRam_size, 0, 0}};
    send(VhostUserRequest::kSetMemTable, table, file.get());
    for (uint32_t i = 0; i < 2; ++i) {
      rings[i].place(base, i * Ring::kSize, packed, i == 0);
      rings[i].no_calls();
      kicks[i] = Fd(::eventfd(0, EFD_NONBLOCK));
      send(VhostUserRequest::kSetVringNum, VringStateWire{i, kRing_count});
      send(VhostUserRequest::kSetVringBase, VringStateWire{i, packed ? 0x8000U : 0U});
      send(VhostUserRequest::kSetVringAddr, rings[i].address(i));
      send(VhostUserRequest::kSetVringKick, uint64_t{i}, kicks[i].get());
      send(VhostUserRequest::kSetVringEnable, VringStateWire{i, 1});
    }
    for (int i = 0; i < 5; ++i) loop.tick(0);
  }
  template <class T>
  void send(VhostUserRequest request, const T& payload, int fd = -1) {
    VhostUserMessage message;
    message.head = {static_cast<uint32_t>(request), 1, sizeof payload};
    std::memcpy(message.payload.data(), &payload, sizeof payload);
    VhostUserChannel channel(Fd(::dup(socket.get())));
    if (!channel.send(message, fd)) std::abort();
  }
  void fill_transmit(uint32_t frame_size, uint8_t from, uint8_t to) {
    for (uint32_t slot = 0; slot < kRing_count; ++slot) {
      uint8_t* at = rings[1].buffer(slot);
      std::memset(at, 0, kHeader_size + frame_size);
      at += kHeader_size;
      at[0] = at[6] = 0x52;
      at[5] = to;
      at[11] = from;
      at[12] = 8;
    }
  }

  Fd file, socket;
  std::array<Fd, 2> kicks;
  std::array<Ring, 2> rings;
  std::unique_ptr<VhostUserPort> port;
};

void BM_guest_to_guest(benchmark::State& state) {
  const auto frame_size = static_cast<uint32_t>(state.range(0));
  const bool packed = state.range(1) != 0;
  SystemClock clock;
  Loop loop(clock);
  Nobody nobody;
  VhostUserPoller poller(loop);
  Guest a(loop, nobody, poller, packed);
  Guest b(loop, nobody, poller, packed);
  vlan::Switch fabric(clock, vlan::FdbConfig(kSeed));
  fabric.attach(*a.port);
  fabric.attach(*b.port);
  a.fill_transmit(frame_size, 1, 2);
  b.fill_transmit(frame_size, 2, 1);
  uint64_t frames = 0;
  const auto send = [&](Guest& from, Guest& to, size_t count) {
    for (size_t i = 0; i < count; ++i) to.rings[0].give(kSlot_size);
    to.rings[0].publish();
    for (size_t i = 0; i < count; ++i) from.rings[1].give(kHeader_size + frame_size);
    from.rings[1].publish();
    from.port->poll();
    from.rings[1].take();
    frames += to.rings[0].take();
  };
  send(b, a, 1);
  for ([[maybe_unused]] auto _ : state) {
    send(a, b, kBurst);
  }
  const auto expected = static_cast<uint64_t>(state.iterations()) * kBurst + 1;
  if (frames != expected) state.SkipWithError("frames were lost");
  state.SetItemsProcessed(static_cast<int64_t>(frames));
  fabric.detach(*a.port);
  fabric.detach(*b.port);
}
BENCHMARK(BM_guest_to_guest)->ArgsProduct({{64, 1514}, {0, 1}})->ArgNames({"bytes", "packed"});

}  // namespace
