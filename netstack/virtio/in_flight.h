#pragma once

#include <cstdint>
#include <string_view>

#include "netstack/virtio/chain.h"

// What a queue holds, in memory that outlives this process (vhost-user, "Inflight I/O tracking"):
// the front end keeps it and shows it to the next back end, which goes on where this one ended.
namespace netstack {

// VHOST_USER_GET_INFLIGHT_FD and SET_INFLIGHT_FD.
struct InFlightWire {
  uint64_t size;
  uint64_t offset;
  uint16_t queue_count;
  uint16_t queue_size;
  uint32_t padding;  // to the alignment of the first field; not on the wire
};
constexpr uint32_t kInFlightWire_size = 20;

// The bytes of one queue's record.
uint64_t in_flight_queue_size(bool packed, uint16_t descriptor_count);

// All queues' records, one behind the other.
class InFlightRecord {
 public:
  // Makes a new one and its file, empty; `wire` says for how many queues and gets the size.
  std::string_view make(InFlightWire& wire, bool packed, Fd& file);
  // Takes over the one the front end keeps.
  std::string_view take(const InFlightWire& wire, bool packed, Fd file);
  void close() { *this = {}; }

  // The queue's record; null: there is none, or its queue is longer than it.
  uint8_t* of(size_t queue, uint16_t descriptor_count) const;

 private:
  GuardedMapping mapping_;
  uint8_t* base_ = nullptr;
  uint64_t stride_size_ = 0;
  uint16_t queue_count_ = 0;
  uint16_t queue_size_ = 0;
};

// Where a queue that starts goes on: `setup.base` is changed if its record has been written before,
// or a packed ring itself shows another place, and the record, if there is one, made ready.
void resume_split(RingSetup& setup);
void resume_packed(RingSetup& setup);

void record_used(uint8_t* record, uint16_t used);
// Around the store that publishes a packed batch.
void begin_batch(uint8_t* record, uint16_t used_slot, bool used_wrap);
void end_batch(uint8_t* record);

}  // namespace netstack
