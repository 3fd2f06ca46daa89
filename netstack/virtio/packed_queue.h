#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "netstack/virtio/chain.h"
#include "netstack/virtio/ring_layout.h"

namespace netstack {

// The device's side of a packed virtqueue (virtio 1.2 §2.8). The calls are SplitQueue's.
class PackedQueue {
 public:
  static constexpr size_t kAlign_descriptors = 16;
  static constexpr size_t kAlign_driver_area = 4;
  static constexpr size_t kAlign_device_area = 4;
  static bool count_is_legal(uint32_t count) { return count != 0 && count <= kRingCount_max; }
  static size_t driver_area_size(uint32_t) { return sizeof(EventSuppression); }
  static size_t device_area_size(uint32_t) { return sizeof(EventSuppression); }

  // setup.base: as base() gives it, with the slot of the next chain to take in the lower half and
  // of the next one to give back in the upper; each with its wrap counter in its bit 15.
  explicit PackedQueue(const RingSetup& setup);

  Pop pop(Chain& chain, ChainParts& parts);
  struct Position {
    uint16_t slot;
    bool wrap;
  };
  struct Place {
    Position taken;
    size_t written_count;
  };
  Place place() const { return {taken_, written_.size()}; }
  void back_to(Place place) {
    taken_ = place.taken;
    written_.resize(place.written_count);
  }

  void push(const Chain& chain, uint32_t written_size, bool continues = false);
  void publish();
  bool wants_call();
  void kicks_off();
  bool kicks_on();

  uint32_t base() const { return uint32_t{packed(taken_)} | uint32_t{packed(used_)} << 16U; }

 private:
  static uint16_t packed(Position place) {
    return static_cast<uint16_t>(place.slot | (place.wrap ? 0x8000U : 0U));
  }
  Position unpacked(uint16_t value) const;
  void advance(Position& place, uint16_t slots) const {
    const uint32_t next = uint32_t{place.slot} + slots;
    const bool wraps = next >= setup_.count;
    place.slot = static_cast<uint16_t>(wraps ? next - setup_.count : next);
    place.wrap = place.wrap != wraps;
  }
  uint8_t* entry(uint16_t slot) const {
    return setup_.descriptors.at + sizeof(PackedDescriptor) * slot;
  }
  bool is_available() const;
  bool read_chain(uint64_t address, uint64_t rest, Chain& chain, ChainParts& parts);
  void log_written();

  RingSetup setup_;
  Position taken_;
  Position used_;
  struct GivenBack {
    uint16_t slot;
    bool continues;
    uint64_t word;  // size, id and flags as the driver is to see them
  };
  std::vector<GivenBack> batch_;  // pushed since publish()
  uint16_t slots_since_call_ = 0;
  std::vector<iovec> written_;
};

inline bool PackedQueue::is_available() const {
  const uint16_t flags = load_acquire(entry(taken_.slot) + offsetof(PackedDescriptor, flags));
  const bool avail = (flags & kDescriptorAvail) != 0;
  const bool used = (flags & kDescriptorUsed) != 0;
  return avail == taken_.wrap && used != taken_.wrap;
}

inline Pop PackedQueue::pop(Chain& chain, ChainParts& parts) {
  if (!is_available()) return Pop::kEmpty;
  const uint8_t* first = entry(taken_.slot);
  const auto address = read_once<uint64_t>(first);
  const auto rest = read_once<uint64_t>(first + 8);
  chain.id = static_cast<uint16_t>(rest >> 32U);
  chain.slot_count = 1;
  if (!read_single(setup_, address, static_cast<uint32_t>(rest), static_cast<uint16_t>(rest >> 48U),
                   parts, chain) &&
      !read_chain(address, rest, chain, parts)) {
    return Pop::kBroken;
  }
  advance(taken_, chain.slot_count);
  return Pop::kChain;
}

inline void PackedQueue::push(const Chain& chain, uint32_t written_size, bool continues) {
  uint16_t flags = used_.wrap ? kDescriptorAvail | kDescriptorUsed : 0;
  if (setup_.direction == Direction::kWrite) flags |= kDescriptorWrite;
  if (chain.slot_count > 1) flags |= kDescriptorNext;  // for a successor: see packed_position.cc
  batch_.push_back(
      {used_.slot, continues, written_size | uint64_t{chain.id} << 32U | uint64_t{flags} << 48U});
  advance(used_, chain.slot_count);
  slots_since_call_ = static_cast<uint16_t>(slots_since_call_ + chain.slot_count);
}

}  // namespace netstack
