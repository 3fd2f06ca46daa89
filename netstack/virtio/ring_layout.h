#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>

// Virtqueues as they lie in guest memory (virtio 1.2 §2.7 and §2.8), little-endian, and how to
// look at memory that somebody else writes.
namespace netstack {

static_assert(std::endian::native == std::endian::little, "rings are read as they lie");

constexpr uint32_t kRingCount_max = 32'768;  // descriptors in one queue, §2.7 and §2.8

// §2.7.5.
struct SplitDescriptor {
  uint64_t address;
  uint32_t size;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(SplitDescriptor) == 16);

// §2.8.13.
struct PackedDescriptor {
  uint64_t address;
  uint32_t size;
  uint16_t id;
  uint16_t flags;
};
static_assert(sizeof(PackedDescriptor) == 16);

constexpr uint16_t kDescriptorNext = 1U;         // VIRTQ_DESC_F_NEXT
constexpr uint16_t kDescriptorWrite = 2U;        // VIRTQ_DESC_F_WRITE: for the device to write
constexpr uint16_t kDescriptorIndirect = 4U;     // VIRTQ_DESC_F_INDIRECT
constexpr uint16_t kDescriptorAvail = 1U << 7U;  // packed, §2.8.1
constexpr uint16_t kDescriptorUsed = 1U << 15U;

// §2.7.6: flags, index, ring of heads, used_event.
constexpr size_t kAvailRing_offset = 4;
constexpr size_t avail_size(uint32_t count) {
  return 4 + size_t{2} * count + 2;
}
constexpr uint16_t kAvailNoInterrupt = 1;

// §2.7.8: flags, index, ring of {id, size}, avail_event.
struct UsedElement {
  uint32_t id;
  uint32_t size;
};
static_assert(sizeof(UsedElement) == 8);
constexpr size_t kUsedRing_offset = 4;
constexpr size_t used_size(uint32_t count) {
  return 4 + sizeof(UsedElement) * count + 2;
}
constexpr uint16_t kUsedNoNotify = 1;

// §2.8.14.
struct EventSuppression {
  uint16_t offset_and_wrap;
  uint16_t flags;
};
static_assert(sizeof(EventSuppression) == 4);
constexpr uint16_t kEventsEnabled = 0;
constexpr uint16_t kEventsDisabled = 1;
constexpr uint16_t kEventsAtOffset = 2;

// Reads a value once: whatever the guest writes there meanwhile or later, the compiler cannot look
// again. `at` need not be aligned.
template <class T>
inline T read_once(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  asm volatile("" : "+r"(value));
  return value;
}

// The same for bytes: what is in `to` afterwards is all that anybody can look at.
inline void copy_once(void* to, const void* from, size_t size) {
  std::memcpy(to, from, size);
  asm volatile("" : : : "memory");
}

// Hints for lines that another processor had last. They cannot fail, wherever they point. A line to
// be written is asked for as one's own at once (the built-in does that only where the compiler is
// told of such processors; others ignore the instruction).
inline void prefetch_to_read(const void* at) {
  __builtin_prefetch(at);
}
inline void prefetch_to_write(void* at) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(at)));
#else
  __builtin_prefetch(at, 1);
#endif
}

// What both sides use to hand over: aligned words.
inline uint16_t load_acquire(const void* at) {
  return std::atomic_ref<uint16_t>(*static_cast<uint16_t*>(const_cast<void*>(at)))
      .load(std::memory_order_acquire);
}
inline void store_release(void* at, uint16_t value) {
  std::atomic_ref<uint16_t>(*static_cast<uint16_t*>(at)).store(value, std::memory_order_release);
}
inline void store_release_u64(void* at, uint64_t value) {
  std::atomic_ref<uint64_t>(*static_cast<uint64_t*>(at)).store(value, std::memory_order_release);
}

// Whether moving an index from `old_index` to `new_index` passes `event`. §2.7.10.
inline bool passes_event(uint16_t event, uint16_t new_index, uint16_t old_index) {
  return static_cast<uint16_t>(new_index - event - 1) <
         static_cast<uint16_t>(new_index - old_index);
}

}  // namespace netstack
