#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "netstack/virtio/dirty_log.h"
#include "netstack/virtio/guest_memory.h"
#include "netstack/virtio/ring_layout.h"

namespace netstack {

constexpr size_t kChainParts_max = 1024;         // pieces of memory in one descriptor chain
constexpr uint64_t kChainBytes_max = 1U << 20U;  // in one chain; a frame with its header has 64 KiB

// One descriptor chain, taken from a queue and owed back to it.
struct Chain {
  uint16_t id = 0;          // what push() gives back
  uint16_t slot_count = 0;  // ring slots it takes (packed rings)
  uint32_t bytes = 0;       // of all parts
  std::span<iovec> parts;  // into the ChainParts it was read into; nobody minds if they are changed
};

// Storage for the parts of the chains of a burst.
class ChainParts {
 public:
  void clear() { used_ = 0; }
  bool full() const { return used_ == kCount; }
  std::span<iovec> since(size_t start) { return {&parts_[start], used_ - start}; }
  // Only when not full().
  std::span<iovec> add_one(iovec part) {
    parts_[used_] = part;
    return {&parts_[used_++], 1};
  }
  bool has_room_for_any() const { return kCount - used_ >= kChainParts_max; }
  bool add(iovec part) {
    if (full()) return false;
    add_one(part);
    return true;
  }
  size_t used() const { return used_; }

 private:
  static constexpr size_t kCount = 2 * kChainParts_max;
  std::unique_ptr<iovec[]> parts_ = std::make_unique_for_overwrite<iovec[]>(kCount + 1);
  size_t used_ = 0;
};

enum class Pop : uint8_t {
  kChain,   // here it is
  kEmpty,   // the driver has made no more available
  kBroken,  // the ring contradicts the specification: this guest's port is to be closed
};

// Which way a queue's buffers go, seen from the device.
enum class Direction : uint8_t { kRead, kWrite };  // guest transmit, guest receive

// Everything a queue is told when it starts. All memory stays the owner's.
struct RingSetup {
  uint16_t count = 0;  // descriptors
  bool event_index = false;
  Direction direction = Direction::kRead;
  GuestMemory::RingPlace descriptors;
  GuestMemory::RingPlace driver_area;  // split: available ring; packed: driver event suppression
  GuestMemory::RingPlace device_area;  // split: used ring; packed: device event suppression
  uint32_t base = 0;                   // where to go on: see the queues' base()
  const GuestMemory* memory = nullptr;
  DirtyLog* log = nullptr;
  uint8_t* in_flight = nullptr;  // this queue's record, see in_flight.h; null: none is kept
};

// Collects one chain's parts, checking every descriptor on the way.
class ChainReader {
 public:
  ChainReader(const RingSetup& setup, std::vector<iovec>& written, ChainParts& parts)
      : setup_(setup), written_(written), parts_(parts), first_(parts.used()) {}

  bool add(uint64_t guest_address, uint32_t size, uint16_t flags);
  // The table an indirect descriptor points to; entries in index order or by `next`.
  bool add_split_table(uint64_t guest_address, uint32_t size);
  bool add_packed_table(uint64_t guest_address, uint32_t size);
  void finish(Chain& chain) const {
    chain.bytes = static_cast<uint32_t>(bytes_);
    chain.parts = parts_.since(first_);
  }

 private:
  bool add_across_regions(uint64_t guest_address, uint64_t size);

  const RingSetup& setup_;
  std::vector<iovec>& written_;  // {guest address, size} of what will be written, for the log
  ChainParts& parts_;
  size_t first_;
  uint64_t bytes_ = 0;
};

inline bool ChainReader::add(uint64_t guest_address, uint32_t size, uint16_t flags) {
  const bool writes = (flags & kDescriptorWrite) != 0;
  if (writes != (setup_.direction == Direction::kWrite)) return false;
  if (size == 0) return true;
  bytes_ += size;
  if (bytes_ > kChainBytes_max || parts_.used() - first_ >= kChainParts_max) return false;
  if (writes && setup_.log->active()) {
    written_.push_back({reinterpret_cast<void*>(guest_address), size});
  }
  uint8_t* at = setup_.memory->translate(guest_address, size);
  if (at == nullptr) [[unlikely]]
    return add_across_regions(guest_address, size);
  return parts_.add({at, size});
}

// The usual chain is one buffer of the right direction within one region: read here, in a few
// instructions. False: this one is not, or what is written is logged; nothing has happened.
inline bool read_single(const RingSetup& setup, uint64_t guest_address, uint32_t size,
                        uint16_t flags, ChainParts& parts, Chain& chain) {
  constexpr uint16_t kMatter = kDescriptorNext | kDescriptorWrite | kDescriptorIndirect;
  const uint16_t wanted = setup.direction == Direction::kWrite ? kDescriptorWrite : 0;
  if ((flags & kMatter) != wanted || size - 1 >= kChainBytes_max || setup.log->active() ||
      parts.full()) [[unlikely]] {
    return false;
  }
  uint8_t* at = setup.memory->translate(guest_address, size);
  if (at == nullptr) [[unlikely]]
    return false;
  chain.bytes = size;
  chain.parts = parts.add_one({at, size});
  return true;
}

}  // namespace netstack
