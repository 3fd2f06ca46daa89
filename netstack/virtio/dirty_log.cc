#include "netstack/virtio/dirty_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>

namespace netstack {

std::string_view DirtyLog::open(int file, uint64_t offset, uint64_t size) {
  close();
  struct stat status {};
  if (size == 0 || offset + size < size || ::fstat(file, &status) != 0 ||
      static_cast<uint64_t>(std::max<off_t>(status.st_size, 0)) < offset + size) {
    return "a dirty log longer than its file";
  }
  mapping_ = GuardedMapping(file, offset + size, static_cast<size_t>(status.st_blksize));
  if (mapping_.base() == nullptr) return mapping_.refusal();
  bits_ = mapping_.base() + offset;
  size_ = size;
  return {};
}

// Atomic: the front end fetches and clears bits at the same time.
void DirtyLog::mark(uint64_t guest_address, uint64_t size) {
  if (!active() || size == 0) return;
  const uint64_t last = (guest_address + size - 1) / kDirtyPage_size;
  for (uint64_t page = guest_address / kDirtyPage_size; page <= last; ++page) {
    if (page / 8 >= size_) return;
    std::atomic_ref<uint8_t>(bits_[page / 8])
        .fetch_or(static_cast<uint8_t>(1U << (page % 8)), std::memory_order_seq_cst);
  }
}

}  // namespace netstack
