// Descriptors are given back in the order they were taken, and before the tick ends. So what a
// killed switch held is exactly what the driver made available from the used position on, and that
// is still in the ring: nothing needs to be listed. The record therefore needs only the position:
//
//   split    the ring's own used index says it
//   packed   the ring shows it, with the record's word where it leaves a choice
//            (packed_position.cc). The record names the place before and after each batch.
//
// The lists of single descriptors that the format has room for stay empty: for any successor they
// say "nothing beyond the position". One that was written by a back end that completes out of
// order would have to be resubmitted from the list; network back ends do not.
#include "netstack/virtio/in_flight.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "netstack/virtio/packed_position.h"
#include "netstack/virtio/ring_layout.h"

namespace netstack {
namespace {

// "QueueRegionSplit" and "QueueRegionPacked" with their "DescState…" in the specification.
struct SplitRecord {
  uint64_t features;
  uint16_t version;
  uint16_t descriptor_count;
  uint16_t last_batch_head;
  uint16_t used;
};
static_assert(sizeof(SplitRecord) == 16);
constexpr uint64_t kSplitState_size = 16;

struct PackedRecord {
  uint64_t features;
  uint16_t version;
  uint16_t descriptor_count;
  uint16_t free_head;
  uint16_t old_free_head;
  uint16_t used;
  uint16_t old_used;
  uint8_t used_wrap;
  uint8_t old_used_wrap;
  uint8_t padding[10];
};
static_assert(sizeof(PackedRecord) == 32);
constexpr uint64_t kPackedState_size = 32;

constexpr uint16_t kVersion = 1;
constexpr uint64_t kAlign_size = 64;
constexpr uint64_t kFilePage_size = 4096;

template <class Record>
Record read(const uint8_t* at) {
  Record record;
  std::memcpy(&record, at, sizeof record);
  return record;
}

template <class Record>
void write(uint8_t* at, const Record& record) {
  std::memcpy(at, &record, sizeof record);
}

}  // namespace

uint64_t in_flight_queue_size(bool packed, uint16_t descriptor_count) {
  const uint64_t size = packed ? sizeof(PackedRecord) + kPackedState_size * descriptor_count
                               : sizeof(SplitRecord) + kSplitState_size * descriptor_count;
  return (size + kAlign_size - 1) / kAlign_size * kAlign_size;
}

std::string_view InFlightRecord::make(InFlightWire& wire, bool packed, Fd& file) {
  wire.offset = 0;
  wire.size = in_flight_queue_size(packed, wire.queue_size) * wire.queue_count;
  file = Fd(::memfd_create("lanyard-in-flight", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const auto whole_size = (wire.size + kFilePage_size - 1) / kFilePage_size * kFilePage_size;
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(whole_size)) != 0) {
    return "an in-flight record that cannot be made";
  }
  return take(wire, packed, Fd(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)));
}

std::string_view InFlightRecord::take(const InFlightWire& wire, bool packed, Fd file) {
  close();
  const uint64_t stride_size = in_flight_queue_size(packed, wire.queue_size);
  const uint64_t end = wire.offset + wire.size;
  struct stat status {};
  if (end < wire.offset || wire.size < stride_size * wire.queue_count ||
      ::fstat(file.get(), &status) != 0 ||
      static_cast<uint64_t>(std::max<off_t>(status.st_size, 0)) < end) {
    return "an in-flight record shorter than its queues need";
  }
  if (wire.offset % kAlign_size != 0) return "an in-flight record that is not aligned";
  mapping_ = GuardedMapping(file.get(), end, static_cast<size_t>(status.st_blksize));
  if (mapping_.base() == nullptr) return mapping_.refusal();
  base_ = mapping_.base() + wire.offset;
  stride_size_ = stride_size;
  queue_count_ = wire.queue_count;
  queue_size_ = wire.queue_size;
  return {};
}

uint8_t* InFlightRecord::of(size_t queue, uint16_t descriptor_count) const {
  if (base_ == nullptr || queue >= queue_count_ || descriptor_count > queue_size_) return nullptr;
  return base_ + stride_size_ * queue;
}

void resume_split(RingSetup& setup) {
  if (setup.in_flight == nullptr) return;
  auto record = read<SplitRecord>(setup.in_flight);
  constexpr size_t kUsedIndex_offset = 2;
  if (record.version == kVersion) {
    setup.base = read_once<uint16_t>(setup.device_area.at + kUsedIndex_offset);
  } else {
    record = {.features = 0,
              .version = kVersion,
              .descriptor_count = setup.count,
              .last_batch_head = 0,
              .used = static_cast<uint16_t>(setup.base)};
  }
  write(setup.in_flight, record);
}

void resume_packed(RingSetup& setup) {
  constexpr uint32_t kWrapBit = 0x8000;
  uint32_t said = setup.base & 0xffffU;
  PackedRecord record{};
  if (setup.in_flight != nullptr) record = read<PackedRecord>(setup.in_flight);
  if (record.version == kVersion)
    said = record.old_used | (record.old_used_wrap != 0 ? kWrapBit : 0);
  const uint32_t base = find_packed_position(setup, static_cast<uint16_t>(said));
  setup.base = base | base << 16U;
  if (setup.in_flight == nullptr) return;
  record.version = kVersion;
  record.descriptor_count = setup.count;
  record.used = record.old_used = static_cast<uint16_t>(base & ~kWrapBit);
  record.used_wrap = record.old_used_wrap = (base & kWrapBit) != 0 ? 1 : 0;
  write(setup.in_flight, record);
}

void record_used(uint8_t* record, uint16_t used) {
  std::memcpy(record + offsetof(SplitRecord, used), &used, sizeof used);
}

void begin_batch(uint8_t* record, uint16_t used_slot, bool used_wrap) {
  auto now = read<PackedRecord>(record);
  now.used = used_slot;
  now.used_wrap = used_wrap ? 1 : 0;
  write(record, now);
  std::atomic_thread_fence(std::memory_order_release);
}

void end_batch(uint8_t* record) {
  auto now = read<PackedRecord>(record);
  now.old_used = now.used;
  now.old_used_wrap = now.used_wrap;
  write(record, now);
}

}  // namespace netstack
