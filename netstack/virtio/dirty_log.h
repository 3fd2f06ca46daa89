#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "netstack/virtio/truncation_guard.h"

namespace netstack {

constexpr uint64_t kDirtyPage_size = 4096;  // per bit; vhost-user, "Migration"

// The front end's map of guest pages that we have written, one bit each, for a migration that is
// under way. Nothing happens until open().
class DirtyLog {
 public:
  // Maps `size` bytes of the file from `offset` on. Returns "" or why it cannot be.
  std::string_view open(int file, uint64_t offset, uint64_t size);
  void close() { *this = {}; }

  bool active() const { return bits_ != nullptr; }
  // Pages beyond the map are not its owner's concern and are passed over.
  void mark(uint64_t guest_address, uint64_t size);

 private:
  GuardedMapping mapping_;
  uint8_t* bits_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace netstack
