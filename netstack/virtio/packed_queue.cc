// One ring for both directions: the driver makes a descriptor available by setting its AVAIL bit to
// the wrap counter and its USED bit to the opposite; the device gives it back by setting both to
// the device's own counter. So a look at one cache line says whether there is work and what it is.
//
//   slot     0    1    2    3    4         a chain's descriptors lie side by side; it is given back
//            used used A─── chain ───      as one descriptor in its first slot, the rest is skipped
//                      ▲ taken_, used_
//
// A chain is given back by one store of 8 bytes, and a batch frame by frame. The chains of one
// frame go back the last one first: a driver that looks meanwhile finds all of a frame or none of
// it, as drivers expect (§5.1.6.4.2 has them count on num_buffers). If we are killed in between,
// the missing chains are ones that were filled, so a successor can give them back
// (packed_position.cc).
//
// Checked as in split_queue.cc; a chain has at most `count` descriptors, and indirect tables are
// read once, in order.
#include "netstack/virtio/packed_queue.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <utility>

#include "netstack/virtio/in_flight.h"

namespace netstack {
namespace {

constexpr size_t kEventFlags_offset = offsetof(EventSuppression, flags);
constexpr uint16_t kWrapBit = 0x8000;

}  // namespace

PackedQueue::PackedQueue(const RingSetup& setup)
    : setup_(setup),
      taken_(unpacked(static_cast<uint16_t>(setup.base))),
      used_(unpacked(static_cast<uint16_t>(setup.base >> 16U))) {
  batch_.reserve(setup.count);
}

PackedQueue::Position PackedQueue::unpacked(uint16_t value) const {
  const auto slot = static_cast<uint16_t>(value & ~kWrapBit);
  return {static_cast<uint16_t>(slot < setup_.count ? slot : 0), (value & kWrapBit) != 0};
}

// `address` and `rest`: the first descriptor, as it was read.
bool PackedQueue::read_chain(uint64_t address, uint64_t rest, Chain& chain, ChainParts& parts) {
  ChainReader reader(setup_, written_, parts);
  Position place = taken_;
  for (uint32_t steps = 1;; ++steps) {
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
    if (steps == setup_.count) return false;
    advance(place, 1);
    address = read_once<uint64_t>(entry(place.slot));
    rest = read_once<uint64_t>(entry(place.slot) + 8);
  }
}

void PackedQueue::publish() {
  if (batch_.empty()) return;
  if (setup_.in_flight != nullptr) begin_batch(setup_.in_flight, used_.slot, used_.wrap);
  for (auto frame = batch_.begin(); frame != batch_.end();) {
    const auto next = std::find_if_not(frame + 1, batch_.end(), std::mem_fn(&GivenBack::continues));
    for (auto chain = next; chain-- != frame;) {
      store_release_u64(entry(chain->slot) + offsetof(PackedDescriptor, size), chain->word);
    }
    frame = next;
  }
  batch_.clear();
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
