#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/virtio/truncation_guard.h"

namespace netstack {

constexpr size_t kMemorySlots_count = 509;  // what KVM gives a guest, and QEMU asks for at most

// One region as the vhost-user protocol describes it ("Memory region description").
struct MemoryRegionWire {
  uint64_t guest_address;  // physical, as the guest's descriptors name it
  uint64_t size;
  uint64_t user_address;  // in the front end's own address space, as it names rings
  uint64_t file_offset;   // where it begins in its file
};
static_assert(sizeof(MemoryRegionWire) == 32);

// A guest's memory, mapped here. Addresses that come from the guest become pointers only through
// translate(), which gives none that leads outside a region.
//
//   guest physical   ├── region 0 ──┤      ├── region 1 ──┤
//                          │                     │ translate()
//   here               ├── mapping ──┤  ├── mapping ──┤
class GuestMemory {
 public:
  GuestMemory() = default;
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  // Maps a region; the descriptor is closed. Returns "" or why it cannot be. The same region of the
  // same file may be added again, and is there until it is removed as often: QEMU before 8 adds
  // each once per queue pair.
  std::string_view add(const MemoryRegionWire& wire, Fd file);
  // False: there is no such region.
  bool remove(const MemoryRegionWire& wire);
  void clear() { regions_.clear(); }

  size_t region_count() const { return regions_.size(); }

  // The pointer to [address, address + size), which lies within one region, or null.
  uint8_t* translate(uint64_t guest_address, uint64_t size) const {
    if (last_ < regions_.size()) {
      const Region& region = regions_[last_];
      const uint64_t offset = guest_address - region.wire.guest_address;
      if (offset < region.wire.size && size <= region.wire.size - offset) [[likely]] {
        return region.base + offset;
      }
    }
    return find(guest_address, size);
  }

  // The first piece of it, as much as one region holds: for buffers that lie across regions whose
  // guest addresses are neighbours. Size 0: there is no memory at that address.
  iovec translate_some(uint64_t guest_address, uint64_t size) const;

  struct RingPlace {
    uint8_t* at = nullptr;
    uint64_t guest_address = 0;
  };
  // The same for an address of the front end's. `at` null: not within one region.
  RingPlace translate_user(uint64_t user_address, uint64_t size) const;

  // A file under the memory was cut short and its bytes are gone; zeros are read in their place.
  bool lost() const;

 private:
  struct FileId {  // fstat(2)
    uint64_t device;
    uint64_t inode;
    bool operator==(const FileId&) const = default;
  };
  struct Region {
    MemoryRegionWire wire;
    uint8_t* base;
    GuardedMapping mapping;
    FileId file;
    size_t added_count = 1;
  };
  uint8_t* find(uint64_t guest_address, uint64_t size) const;

  std::vector<Region> regions_;
  mutable size_t last_ = 0;  // where the last address was found
};

}  // namespace netstack
