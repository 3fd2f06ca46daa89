// A ring whose every index, length and address comes from a guest. Each is read once, into a local,
// and checked there:
//
//   available index   at most `count` ahead of what we have taken
//   head, next        below `count`; a chain has at most `count` steps, so a loop ends
//   indirect table    whole descriptors, at most kChainParts_max, none indirect again, in one
//   region buffer            within the guest's memory, its direction that of the queue
//
// A breach makes pop() say kBroken, for good: the owner closes the port. Nothing is written into
// the ring of such a guest any more.
//
// Kicks: with event indices, "off" leaves avail_event where the driver has long passed it, so it
// never passes it again for 65,535 chains; write_avail_event() pushes it back from time to time.
#include "netstack/virtio/split_queue.h"

#include <atomic>
#include <cstring>

#include "netstack/virtio/in_flight.h"

namespace netstack {
namespace {

constexpr size_t kIndex_offset = 2;        // of either ring's index, behind its flags
constexpr uint16_t kFarAhead = 0x8000;     // an event index nobody is about to pass
constexpr uint16_t kPushBackEvery = 4096;  // chains

}  // namespace

SplitQueue::SplitQueue(const RingSetup& setup)
    : setup_(setup),
      mask_(static_cast<uint16_t>(setup.count - 1)),
      available_(static_cast<uint16_t>(setup.base)),
      taken_(available_),
      used_(available_),
      published_(available_),
      called_(available_) {}

// kChain: there is at least one more.
Pop SplitQueue::look() {
  available_ = load_acquire(setup_.driver_area.at + kIndex_offset);
  if (static_cast<uint16_t>(available_ - taken_) > setup_.count) {
    available_ = taken_;
    return Pop::kBroken;
  }
  return taken_ == available_ ? Pop::kEmpty : Pop::kChain;
}

// `address` and `rest`: the first descriptor, as it was read.
bool SplitQueue::read_chain(uint16_t head, uint64_t address, uint64_t rest, Chain& chain,
                            ChainParts& parts) {
  ChainReader reader(setup_, written_, parts);
  for (uint32_t steps = 1;; ++steps) {
    const auto size = static_cast<uint32_t>(rest);
    const auto flags = static_cast<uint16_t>(rest >> 32U);
    const bool more = (flags & kDescriptorNext) != 0;
    if ((flags & kDescriptorIndirect) != 0) {
      if (more || !reader.add_split_table(address, size)) return false;
    } else if (!reader.add(address, size, flags)) {
      return false;
    }
    if (!more) break;
    const auto index = static_cast<uint16_t>(rest >> 48U);
    if (index > mask_ || steps == setup_.count) return false;  // the latter: it goes round
    const uint8_t* entry = setup_.descriptors.at + sizeof(SplitDescriptor) * index;
    address = read_once<uint64_t>(entry);
    rest = read_once<uint64_t>(entry + 8);
  }
  chain.id = head;
  chain.slot_count = 1;
  reader.finish(chain);
  return true;
}

void SplitQueue::publish() {
  if (published_ == used_) return;
  if (static_cast<uint16_t>(used_ / kPushBackEvery) !=
      static_cast<uint16_t>(published_ / kPushBackEvery)) {
    if (setup_.event_index) write_avail_event(static_cast<uint16_t>(used_ + kFarAhead));
  }
  published_ = used_;
  store_release(setup_.device_area.at + kIndex_offset, used_);
  if (setup_.in_flight != nullptr) record_used(setup_.in_flight, used_);
  if (!setup_.log->active()) return;
  for (const iovec& part : written_) {
    setup_.log->mark(reinterpret_cast<uint64_t>(part.iov_base), part.iov_len);
  }
  written_.clear();
  setup_.log->mark(setup_.device_area.guest_address, used_size(setup_.count));
}

bool SplitQueue::wants_call() {
  if (called_ == published_) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // publish before looking at its wish
  const uint16_t called = called_;
  called_ = published_;
  if (setup_.event_index) {
    const uint8_t* used_event =
        setup_.driver_area.at + kAvailRing_offset + sizeof(uint16_t) * setup_.count;
    return passes_event(load_acquire(used_event), published_, called);
  }
  return (load_acquire(setup_.driver_area.at) & kAvailNoInterrupt) == 0;
}

void SplitQueue::write_avail_event(uint16_t index) {
  store_release(setup_.device_area.at + kUsedRing_offset + sizeof(UsedElement) * setup_.count,
                index);
}

void SplitQueue::kicks_off() {
  if (setup_.event_index) {
    write_avail_event(static_cast<uint16_t>(taken_ + kFarAhead));
  } else {
    store_release(setup_.device_area.at, kUsedNoNotify);
  }
}

bool SplitQueue::kicks_on() {
  if (setup_.event_index) {
    write_avail_event(taken_);
  } else {
    store_release(setup_.device_area.at, 0);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // tell it before looking again
  return load_acquire(setup_.driver_area.at + kIndex_offset) != taken_;
}

}  // namespace netstack
