#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "netstack/virtio/chain.h"
#include "netstack/virtio/ring_layout.h"

namespace netstack {

// The device's side of a split virtqueue (virtio 1.2 §2.7).
//
//   pop() … pop()      takes chains the driver made available; back_to() gives the last ones back
//   push() … push()    hands chains back, in the order they were popped
//   publish()          the driver sees what was pushed
//   wants_call()       whether it wants to be told
//
// Chains are given back in the order they were taken, so what a queue holds is always the stretch
// of the available ring behind the used index, and a successor that begins there finds it again.
class SplitQueue {
 public:
  static constexpr size_t kAlign_descriptors = 16;
  static constexpr size_t kAlign_driver_area = 2;
  static constexpr size_t kAlign_device_area = 4;
  static bool count_is_legal(uint32_t count) {
    return count != 0 && count <= kRingCount_max && (count & (count - 1)) == 0;
  }
  static size_t driver_area_size(uint32_t count) { return avail_size(count); }
  static size_t device_area_size(uint32_t count) { return used_size(count); }

  // setup.base: the index of the first chain to take.
  explicit SplitQueue(const RingSetup& setup);

  Pop pop(Chain& chain, ChainParts& parts);
  struct Place {
    uint16_t taken;
    size_t written_count;
  };
  Place place() const { return {taken_, written_.size()}; }
  void back_to(Place place) {
    taken_ = place.taken;
    written_.resize(place.written_count);
  }

  // `written_size`: what we wrote into it from its start; 0 for a chain that was read. `continues`:
  // it holds more of the frame that began in the chain pushed before; the driver sees the first
  // chain of a frame after all others.
  void push(const Chain& chain, uint32_t written_size, bool continues = false);
  void publish();
  bool wants_call();

  // The driver need not kick while kicks are off. Turning them on says whether more chains have
  // become available before it could know that.
  void kicks_off();
  bool kicks_on();

  uint32_t base() const { return taken_; }       // for VHOST_USER_GET_VRING_BASE
  uint16_t used_index() const { return used_; }  // of the next chain to be given back

 private:
  Pop look();
  bool read_chain(uint16_t head, uint64_t address, uint64_t rest, Chain& chain, ChainParts& parts);
  void write_avail_event(uint16_t index);

  RingSetup setup_;
  uint16_t mask_;
  uint16_t available_;  // the driver's index, as last seen
  uint16_t taken_;
  uint16_t used_;
  uint16_t published_;
  uint16_t called_;  // the used index when wants_call() was last asked
  std::vector<iovec> written_;
};

inline Pop SplitQueue::pop(Chain& chain, ChainParts& parts) {
  if (taken_ == available_) {
    if (const Pop seen = look(); seen != Pop::kChain) return seen;
  }
  const auto head = read_once<uint16_t>(setup_.driver_area.at + kAvailRing_offset +
                                        sizeof(uint16_t) * (taken_ & mask_));
  if (head > mask_) [[unlikely]]
    return Pop::kBroken;
  const uint8_t* entry = setup_.descriptors.at + sizeof(SplitDescriptor) * head;
  const auto address = read_once<uint64_t>(entry);
  const auto rest = read_once<uint64_t>(entry + 8);
  chain.id = head;
  chain.slot_count = 1;
  if (!read_single(setup_, address, static_cast<uint32_t>(rest), static_cast<uint16_t>(rest >> 32U),
                   parts, chain) &&
      !read_chain(head, address, rest, chain, parts)) {
    return Pop::kBroken;
  }
  ++taken_;
  return Pop::kChain;
}

// The driver sees all that is pushed when publish() stores the index.
inline void SplitQueue::push(const Chain& chain, uint32_t written_size, bool /*continues*/) {
  const UsedElement element{chain.id, written_size};
  std::memcpy(setup_.device_area.at + kUsedRing_offset + sizeof element * (used_ & mask_), &element,
              sizeof element);
  ++used_;
}

}  // namespace netstack
