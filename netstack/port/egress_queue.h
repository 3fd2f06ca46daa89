#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "netstack/frame/port.h"
#include "netstack/port/egress_budget.h"

namespace netstack {

// Per port. The NAT engine (libslirp) sends up to 64 KiB per TCP flow without an answer and, when
// a segment is lost, waits for its coarse timer before it tries again: one drop costs a flow half a
// second. 64 flows of a full window each fit, so a guest that reads at all sees no drop from them.
constexpr size_t kEgressQueueLimit_size = 64 * 64 * 1024;

// Of that, what a queue that has run empty keeps for next time; a multiple of any page size.
constexpr size_t kEgressQueueKeep_size = 256 * 1024;

constexpr size_t kQueuedLength_size = 4;  // what the queue adds to each frame

// Frames for a receiver whose socket is full, in order. Two faces on the same bytes: a stream
// takes them as bytes, a datagram socket as frames. Use one face per queue.
class EgressQueue {
 public:
  // Takes no memory until the first push, and what it holds beyond kEgressQueueKeep_size from the
  // budget, which outlives it. `limit_size`: at least one largest frame.
  explicit EgressQueue(EgressBudget& budget, size_t limit_size = kEgressQueueLimit_size);
  ~EgressQueue();
  EgressQueue(const EgressQueue&) = delete;
  EgressQueue& operator=(const EgressQueue&) = delete;

  // Copies frames in, from the front of the burst, until one does not fit. Returns how many.
  size_t push(std::span<const Frame> burst);

  bool empty() const { return frame_count_ == 0; }
  size_t frame_count() const { return frame_count_; }
  uint64_t frame_bytes() const { return frame_bytes_; }  // a frame begun by consume() counts whole

  // The stream face: each frame behind its length in 4 bytes, big-endian. Fills in 0 to 2 pieces
  // and returns their number; consume() says how many of these bytes are out.
  size_t peek_bytes(std::span<iovec, 2> pieces) const;
  void consume(size_t size);

  // The datagram face: the first frames, one piece each, and how many were filled in.
  size_t peek_frames(std::span<iovec> frames) const;
  void pop_frames(size_t count);

  // Empties the queue because the receiver has gone. What waited here was counted as egress when
  // it was taken; it becomes drops.
  void abandon(PortCounters& counters);

 private:
  uint32_t length_at(size_t offset) const;
  bool take_ring();
  bool reserve(size_t size);
  bool may_reach(size_t end);
  void give_back();
  void start_over();
  void pop_front();

  EgressBudget& budget_;
  size_t limit_size_;
  uint8_t* ring_ = nullptr;  // mapped
  size_t touched_size_ = 0;  // of the ring, at most
  size_t head_ = 0;          // where the first record starts
  size_t tail_ = 0;          // where the next record goes
  size_t wrap_ = 0;          // where the records before the wrap end; meaningful while wrapped_
  bool wrapped_ = false;     // [head_, wrap_) comes first, then [0, tail_)
  size_t front_sent_ = 0;    // bytes of the first record already out
  size_t frame_count_ = 0;
  uint64_t frame_bytes_ = 0;
};

}  // namespace netstack
