// One ring for both directions: the driver makes a descriptor available by setting its AVAIL bit to
// the wrap counter and its USED bit to the opposite; the device gives it back by setting both to
// the device's own counter. So a look at one cache line says whether there is work and what it is.
//
//   slot     0    1    2    3    4         a chain's descriptors lie side by side; it is given back
//            used used A─── chain ───      as one descriptor in its first slot, the rest is skipped
//                      ▲ taken_, used_
//
// A batch is published by its first descriptor: the others are written before, and their bits say
// "used" at once, but a driver that reads in order stops in front of the first.
//
// Checked as in split_queue.cc; a chain has at most `count` descriptors, and indirect tables are
// read once, in order.
#include "netstack/virtio/packed_queue.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "netstack/virtio/in_flight.h"

namespace netstack {
namespace {

constexpr size_t kSize_offset = offsetof(PackedDescriptor, size);
constexpr size_t kId_offset = offsetof(PackedDescriptor, id);
constexpr size_t kFlags_offset = offsetof(PackedDescriptor, flags);
constexpr size_t kEventFlags_offset = offsetof(EventSuppression, flags);
constexpr uint16_t kWrapBit = 0x8000;

}  // namespace

PackedQueue::PackedQueue(const RingSetup& setup)
    : setup_(setup),
      taken_(unpacked(static_cast<uint16_t>(setup.base))),
      used_(unpacked(static_cast<uint16_t>(setup.base >> 16U))),
      batch_(used_) {}

PackedQueue::Position PackedQueue::unpacked(uint16_t value) const {
  const auto slot = static_cast<uint16_t>(value & ~kWrapBit);
  return {static_cast<uint16_t>(slot < setup_.count ? slot : 0), (value & kWrapBit) != 0};
}

void PackedQueue::advance(Position& place, uint16_t slots) const {
  const uint32_t next = uint32_t{place.slot} + slots;
  const bool wraps = next >= setup_.count;
  place.slot = static_cast<uint16_t>(wraps ? next - setup_.count : next);
  place.wrap = place.wrap != wraps;
}

bool PackedQueue::is_available() const {
  const uint16_t flags = load_acquire(entry(taken_.slot) + kFlags_offset);
  const bool avail = (flags & kDescriptorAvail) != 0;
  const bool used = (flags & kDescriptorUsed) != 0;
  return avail == taken_.wrap && used != taken_.wrap;
}

Pop PackedQueue::pop(Chain& chain, ChainParts& parts) {
  if (!is_available()) return Pop::kEmpty;
  if (!read_chain(chain, parts)) return Pop::kBroken;
  advance(taken_, chain.slot_count);
  return Pop::kChain;
}

bool PackedQueue::read_chain(Chain& chain, ChainParts& parts) {
  ChainReader reader(setup_, written_, parts);
  Position place = taken_;
  for (uint32_t steps = 1; steps <= setup_.count; ++steps) {
    const auto address = read_once<uint64_t>(entry(place.slot));
    const auto rest = read_once<uint64_t>(entry(place.slot) + 8);
    const auto size = static_cast<uint32_t>(rest);
    const auto flags = static_cast<uint16_t>(rest >> 48U);
    const bool more = (flags & kDescriptorNext) != 0;
    if ((flags & kDescriptorIndirect) != 0) {
      if (more || !reader.add_packed_table(address, size)) return false;
    } else if (!reader.add(address, size, flags)) {
      return false;
    }
    if (!more) {
      chain.id = static_cast<uint16_t>(rest >> 32U);
      chain.slot_count = static_cast<uint16_t>(steps);
      reader.finish(chain);
      return true;
    }
    advance(place, 1);
  }
  return false;
}

void PackedQueue::push(const Chain& chain, uint32_t written_size) {
  uint8_t* at = entry(used_.slot);
  std::memcpy(at + kSize_offset, &written_size, sizeof written_size);
  std::memcpy(at + kId_offset, &chain.id, sizeof chain.id);
  uint16_t flags = used_.wrap ? kDescriptorAvail | kDescriptorUsed : 0;
  if (setup_.direction == Direction::kWrite) flags |= kDescriptorWrite;
  if (batch_open_) {
    store_release(at + kFlags_offset, flags);
  } else {
    batch_open_ = true;
    batch_ = used_;
    batch_flags_ = flags;
  }
  advance(used_, chain.slot_count);
  slots_since_call_ = static_cast<uint16_t>(slots_since_call_ + chain.slot_count);
}

void PackedQueue::publish() {
  if (!batch_open_) return;
  batch_open_ = false;
  if (setup_.in_flight != nullptr) begin_batch(setup_.in_flight, used_.slot, used_.wrap);
  store_release(entry(batch_.slot) + kFlags_offset, batch_flags_);
  if (setup_.in_flight != nullptr) end_batch(setup_.in_flight);
  if (setup_.log->active()) log_written();
}

// The ring itself is marked whole: it is a few pages, and most of it changes with every batch.
void PackedQueue::log_written() {
  for (const iovec& part : written_) {
    setup_.log->mark(reinterpret_cast<uint64_t>(part.iov_base), part.iov_len);
  }
  written_.clear();
  setup_.log->mark(setup_.descriptors.guest_address, sizeof(PackedDescriptor) * setup_.count);
  setup_.log->mark(setup_.device_area.guest_address, sizeof(EventSuppression));
}

// §2.8.21.3.1, and vring_need_event() applied to slots.
bool PackedQueue::wants_call() {
  if (slots_since_call_ == 0) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint16_t slots = std::exchange(slots_since_call_, uint16_t{0});
  const auto suppression = read_once<uint32_t>(setup_.driver_area.at);
  const auto flags = static_cast<uint16_t>(suppression >> 16U & 3U);
  if (flags == kEventsDisabled) return false;
  if (flags != kEventsAtOffset || !setup_.event_index) return true;
  const auto value = static_cast<uint16_t>(suppression);
  auto event = static_cast<uint16_t>(value & ~kWrapBit);
  if (((value & kWrapBit) != 0) != used_.wrap) event = static_cast<uint16_t>(event - setup_.count);
  return passes_event(event, used_.slot, static_cast<uint16_t>(used_.slot - slots));
}

void PackedQueue::kicks_off() {
  store_release(setup_.device_area.at + kEventFlags_offset, kEventsDisabled);
}

bool PackedQueue::kicks_on() {
  if (setup_.event_index) {
    store_release(setup_.device_area.at, packed(taken_));
    store_release(setup_.device_area.at + kEventFlags_offset, kEventsAtOffset);
  } else {
    store_release(setup_.device_area.at + kEventFlags_offset, kEventsEnabled);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return is_available();
}

}  // namespace netstack
