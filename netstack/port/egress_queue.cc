// A ring of records: a frame behind its length, as QEMU's stream framing has it.
//
//   not wrapped   ........[len frame][len frame][len frame]..........
//                         head_                            tail_
//   wrapped       [len frame]......[len frame][len frame]............
//                            tail_ head_                 wrap_       limit
//
// A record is never split by the wrap, so a datagram socket needs one iovec per frame, and a
// stream socket sends any number of records as at most two. The price is the unused end behind
// wrap_, less than one record. The alternative, a list of one allocation per frame, asks the
// allocator for memory exactly when the machine is busiest.
//
// The ring is address space, taken at the first push and kept; pages never touched cost nothing.
// When it runs empty, writing begins at its start again, so a receiver that is only ever a little
// late touches only the first pages. What it touched beyond kEgressQueueKeep_size goes back to the
// kernel then: a guest that was stopped once would otherwise hold the whole limit for ever. That
// much, the part that was touched beyond kEgressQueueKeep_size, is also what counts in the budget
// that all queues of a LAN share. When the budget is used up the ring ends where it was touched, or
// at kEgressQueueKeep_size: the queue wraps there, or is full.
#include "netstack/port/egress_queue.h"

#include <sys/mman.h>

#include <algorithm>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"

namespace netstack {

EgressQueue::EgressQueue(EgressBudget& budget, size_t limit_size)
    : budget_(budget), limit_size_(limit_size) {
  check(limit_size >= kQueuedLength_size + kFrameBytesMax, "an egress queue holds any one frame");
}

EgressQueue::~EgressQueue() {
  give_back();
  if (ring_ != nullptr) ::munmap(ring_, limit_size_);
}

size_t EgressQueue::push(std::span<const Frame> burst) {
  size_t taken = 0;
  for (const Frame& frame : burst) {
    if (!reserve(kQueuedLength_size + frame.bytes)) break;
    uint8_t* record = &ring_[tail_];
    write_u32(record, frame.bytes);
    const uint32_t copied = copy_frame(frame, record + kQueuedLength_size);
    check(copied == frame.bytes, "a frame is as long as its parts");
    tail_ += kQueuedLength_size + copied;
    touched_size_ = std::max(touched_size_, tail_);
    frame_bytes_ += copied;
    ++frame_count_;
    ++taken;
  }
  return taken;
}

// False: the kernel has none to give; the queue is as good as full.
bool EgressQueue::take_ring() {
  void* ring = ::mmap(nullptr, limit_size_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (ring == MAP_FAILED) return false;
  ring_ = static_cast<uint8_t*>(ring);
  return true;
}

// Makes `size` bytes free at tail_, wrapping if that helps.
bool EgressQueue::reserve(size_t size) {
  if (ring_ == nullptr && !take_ring()) return false;
  if (wrapped_) return head_ - tail_ >= size;
  if (may_reach(tail_ + size)) return true;
  if (head_ < size) return false;
  wrap_ = tail_;
  tail_ = 0;
  wrapped_ = true;
  return true;
}

bool EgressQueue::may_reach(size_t end) {
  if (end > limit_size_) return false;
  const size_t held_size = std::max(touched_size_, kEgressQueueKeep_size);
  return end <= held_size || budget_.take(end - held_size);
}

uint32_t EgressQueue::length_at(size_t offset) const {
  return read_u32(&ring_[offset]);
}

void EgressQueue::pop_front() {
  check(!empty(), "only a frame that waits is taken");
  const uint32_t length = length_at(head_);
  head_ += kQueuedLength_size + length;
  front_sent_ = 0;
  frame_bytes_ -= length;
  --frame_count_;
  if (wrapped_ && head_ == wrap_) {
    head_ = 0;
    wrapped_ = false;
  }
  if (frame_count_ == 0) start_over();
}

void EgressQueue::start_over() {
  head_ = tail_ = front_sent_ = 0;
  wrapped_ = false;
  if (touched_size_ <= kEgressQueueKeep_size) return;
  ::madvise(ring_ + kEgressQueueKeep_size, touched_size_ - kEgressQueueKeep_size, MADV_DONTNEED);
  give_back();
}

void EgressQueue::give_back() {
  if (touched_size_ <= kEgressQueueKeep_size) return;
  budget_.give_back(touched_size_ - kEgressQueueKeep_size);
  touched_size_ = kEgressQueueKeep_size;
}

size_t EgressQueue::peek_bytes(std::span<iovec, 2> pieces) const {
  if (empty()) return 0;
  const size_t begin = head_ + front_sent_;
  if (!wrapped_) {
    pieces[0] = {&ring_[begin], tail_ - begin};
    return 1;
  }
  pieces[0] = {&ring_[begin], wrap_ - begin};
  pieces[1] = {&ring_[0], tail_};
  return tail_ == 0 ? 1 : 2;
}

void EgressQueue::consume(size_t size) {
  while (size > 0) {
    check(!empty(), "no more is consumed than waits");
    const size_t left = kQueuedLength_size + length_at(head_) - front_sent_;
    if (size < left) {
      front_sent_ += size;
      return;
    }
    size -= left;
    pop_front();
  }
}

size_t EgressQueue::peek_frames(std::span<iovec> frames) const {
  const size_t count = std::min(frames.size(), frame_count_);
  size_t at = head_;
  for (size_t i = 0; i < count; ++i) {
    if (wrapped_ && at == wrap_) at = 0;
    const uint32_t length = length_at(at);
    frames[i] = {&ring_[at + kQueuedLength_size], length};
    at += kQueuedLength_size + length;
  }
  return count;
}

void EgressQueue::pop_frames(size_t count) {
  for (size_t i = 0; i < count; ++i) pop_front();
}

void EgressQueue::abandon(PortCounters& counters) {
  counters.egress_frames -= frame_count_;
  counters.egress_bytes -= frame_bytes_;
  counters.drop(DropReason::kPeerGone, frame_count_);
  frame_count_ = 0;
  frame_bytes_ = 0;
  start_over();
}

}  // namespace netstack
