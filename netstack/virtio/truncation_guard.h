#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace netstack {

constexpr size_t kGuardedMappings_count = 4096;  // in this process, over all guests

// A file of somebody else's mapped into memory, which survives that the file is cut short: the
// first touch beyond its new end replaces the whole mapping with zeros and marks it lost.
class GuardedMapping {
 public:
  GuardedMapping() = default;
  // Maps the file's first `size` bytes, readable and writable, shared. `page_size`: of the file's
  // file system (st_blksize): huge pages want whole ones. base() is null when it cannot be done.
  GuardedMapping(int file, size_t size, size_t page_size);
  GuardedMapping(GuardedMapping&& other) noexcept;
  GuardedMapping& operator=(GuardedMapping&& other) noexcept;
  ~GuardedMapping();

  uint8_t* base() const { return base_; }
  std::string_view refusal() const { return refusal_; }
  bool lost() const;

 private:
  void swap(GuardedMapping& other) noexcept;

  uint8_t* reserved_ = nullptr;  // address space: the mapping and what is around it
  size_t reserved_size_ = 0;
  uint8_t* base_ = nullptr;
  size_t size_ = 0;
  size_t slot_ = 0;
  std::string_view refusal_;
};

}  // namespace netstack
