// Regions come from a front end that may be wrong or hostile about them, so before anything is
// mapped: no address wraps, no region overlaps another one in guest addresses, and the file is long
// enough (fstat). Files that shrink later are truncation_guard.h's matter.
//
// Lookup tries the region of the last hit first: a guest has two or three regions, and all of a
// burst's buffers lie in one. Then a linear search; 509 regions are possible, but a guest that uses
// them all slows down nobody but itself.
#include "netstack/virtio/guest_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

namespace netstack {
namespace {

bool wraps(uint64_t start, uint64_t size) {
  return start + size < start;
}

bool same(const MemoryRegionWire& a, const MemoryRegionWire& b) {
  return a.guest_address == b.guest_address && a.size == b.size &&
         a.user_address == b.user_address && a.file_offset == b.file_offset;
}

bool overlap(const MemoryRegionWire& a, const MemoryRegionWire& b) {
  return a.guest_address < b.guest_address + b.size && b.guest_address < a.guest_address + a.size;
}

}  // namespace

std::string_view GuestMemory::add(const MemoryRegionWire& wire, Fd file) {
  if (wire.size == 0 || wraps(wire.guest_address, wire.size) ||
      wraps(wire.user_address, wire.size) || wraps(wire.file_offset, wire.size)) {
    return "a memory region without a size or beyond the end of its address space";
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return "a memory region without a file";
  const FileId id{status.st_dev, status.st_ino};
  for (Region& region : regions_) {
    if (same(region.wire, wire) && region.file == id) {
      ++region.added_count;
      return {};
    }
    if (overlap(region.wire, wire)) return "memory regions that overlap";
  }
  if (regions_.size() >= kMemorySlots_count) return "more memory regions than slots";
  if (status.st_size < 0 || static_cast<uint64_t>(status.st_size) < wire.file_offset + wire.size) {
    return "a memory region longer than its file";
  }
  GuardedMapping mapping(file.get(), wire.file_offset + wire.size,
                         static_cast<size_t>(status.st_blksize));
  if (mapping.base() == nullptr) return mapping.refusal();
  uint8_t* base = mapping.base() + wire.file_offset;
  regions_.push_back({wire, base, std::move(mapping), id});
  return {};
}

bool GuestMemory::remove(const MemoryRegionWire& wire) {
  const auto region = std::ranges::find_if(regions_, [&](const Region& each) {
    return each.wire.guest_address == wire.guest_address && each.wire.size == wire.size &&
           each.wire.user_address == wire.user_address;
  });
  if (region == regions_.end()) return false;
  if (--region->added_count == 0) regions_.erase(region);
  return true;
}

uint8_t* GuestMemory::find(uint64_t guest_address, uint64_t size) const {
  for (size_t at = 0; at < regions_.size(); ++at) {
    const Region& region = regions_[at];
    const uint64_t offset = guest_address - region.wire.guest_address;
    if (offset >= region.wire.size || size > region.wire.size - offset) continue;
    last_ = at;
    return region.base + offset;
  }
  return nullptr;
}

iovec GuestMemory::translate_some(uint64_t guest_address, uint64_t size) const {
  for (const Region& region : regions_) {
    const uint64_t offset = guest_address - region.wire.guest_address;
    if (offset >= region.wire.size) continue;
    return {region.base + offset, std::min(size, region.wire.size - offset)};
  }
  return {nullptr, 0};
}

GuestMemory::RingPlace GuestMemory::translate_user(uint64_t user_address, uint64_t size) const {
  for (const Region& region : regions_) {
    const uint64_t offset = user_address - region.wire.user_address;
    if (offset >= region.wire.size || size > region.wire.size - offset) continue;
    return {region.base + offset, region.wire.guest_address + offset};
  }
  return {};
}

bool GuestMemory::lost() const {
  return std::any_of(regions_.begin(), regions_.end(),
                     [](const Region& region) { return region.mapping.lost(); });
}

}  // namespace netstack
