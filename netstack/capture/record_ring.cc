#include "netstack/capture/record_ring.h"

#include <cstring>

#include "netstack/base/check.h"

namespace netstack {

// The counters only grow; a position in memory is a counter modulo the size. Memory is not touched
// before it is first needed, so a capture of a quiet LAN costs little.

RecordRing::RecordRing(size_t size) : size_(size), memory_(new uint8_t[size]) {
  check(size % kAlignBytes == 0, "the ring holds whole heads");
  check(size > 2 * (kFrameBytesMax + sizeof(Head)), "the ring holds the longest frame");
}

void RecordRing::put_head(uint64_t at, const Head& head) {
  std::memcpy(memory_.get() + at % size_, &head, sizeof head);
}

bool RecordRing::add(uint64_t wall_ns, const Frame& frame) {
  const size_t need = (sizeof(Head) + frame.bytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
  const size_t until_end = size_ - added_ % size_;
  const size_t skip = need > until_end ? until_end : 0;
  if (added_ + skip + need - drained_seen_ > size_) {
    drained_seen_ = drained_.load(std::memory_order_acquire);
    if (added_ + skip + need - drained_seen_ > size_) return false;
  }
  if (skip > 0) put_head(added_, {0, 0, 0});
  added_ += skip;
  put_head(added_, {wall_ns, frame.bytes, 0});
  const uint32_t copied = copy_frame(frame, memory_.get() + added_ % size_ + sizeof(Head));
  check(copied == frame.bytes, "a frame is as long as its parts");
  added_ += need;
  return true;
}

uint64_t RecordRing::publish() {
  filled_.store(added_, std::memory_order_release);
  return added_;
}

bool RecordRing::next(Record& record) {
  const uint64_t filled = filled_.load(std::memory_order_acquire);
  while (taken_ < filled) {
    Head head;
    std::memcpy(&head, memory_.get() + taken_ % size_, sizeof head);
    if (head.bytes == 0) {
      taken_ += size_ - taken_ % size_;
      continue;
    }
    record = {head.wall_ns, {memory_.get() + taken_ % size_ + sizeof head, head.bytes}};
    taken_ += (sizeof head + head.bytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
    return true;
  }
  return false;
}

void RecordRing::release() {
  drained_.store(taken_, std::memory_order_release);
}

}  // namespace netstack
