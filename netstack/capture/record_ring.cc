#include "netstack/capture/record_ring.h"

#include <algorithm>
#include <cstring>

#include "netstack/base/check.h"

namespace netstack {

// The counters only grow; a position in memory is a counter modulo the size. Memory is not touched
// before it is first needed, so a capture of a quiet LAN costs little.

RecordRing::RecordRing(size_t size) : size_(size), memory_(new uint8_t[size]) {
  check(size % kAlignBytes == 0, "the ring holds whole heads");
  check(size > 2 * (kFrameBytesMax + kCommentBytesMax + sizeof(Head)),
        "the ring holds the longest record");
}

size_t RecordRing::room_for(const Head& head) {
  const size_t size = sizeof head + head.bytes + head.comment_bytes;
  return (size + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
}

void RecordRing::put_head(uint64_t at, const Head& head) {
  std::memcpy(memory_.get() + at % size_, &head, sizeof head);
}

bool RecordRing::add(uint64_t wall_ns, const Frame& frame, uint16_t interface,
                     std::string_view comment, uint32_t snap_bytes) {
  comment = comment.substr(0, kCommentBytesMax);
  const uint32_t bytes = std::min(frame.bytes, snap_bytes);
  // The masks change nothing: they tell the compiler that the fields are wide enough.
  const Head head{wall_ns, bytes & 0x1ffffU, frame.bytes & 0x1ffffU, interface,
                  comment.size() & 0x3fffU};
  const size_t need = room_for(head);
  const size_t until_end = size_ - added_ % size_;
  const size_t skip = need > until_end ? until_end : 0;
  if (added_ + skip + need - drained_seen_ > size_) {
    drained_seen_ = drained_.load(std::memory_order_acquire);
    if (added_ + skip + need - drained_seen_ > size_) return false;
  }
  if (skip > 0) put_head(added_, {});
  added_ += skip;
  put_head(added_, head);
  uint8_t* const out = memory_.get() + added_ % size_ + sizeof(Head);
  const uint32_t copied = copy_frame(frame, out, bytes);
  check(copied == bytes, "a frame is as long as its parts");
  if (!comment.empty()) std::memcpy(out + copied, comment.data(), comment.size());
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
    const uint8_t* const bytes = memory_.get() + taken_ % size_ + sizeof head;
    record = {head.wall_ns,
              static_cast<uint16_t>(head.interface),
              {bytes, head.bytes},
              {reinterpret_cast<const char*>(bytes + head.bytes), head.comment_bytes},
              static_cast<uint32_t>(head.wire_bytes)};
    taken_ += room_for(head);
    return true;
  }
  return false;
}

void RecordRing::release() {
  drained_.store(taken_, std::memory_order_release);
}

}  // namespace netstack
