#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "netstack/frame/frame.h"

namespace netstack {

constexpr size_t kCommentBytesMax = 4096;  // of one frame; what is longer is cut

// A bounded queue of frame copies from one thread (the loop) to another (the writer), without a
// lock: each side owns one counter and reads the other's.
//
//        drained_                          filled_      added_
//           ▼                                 ▼            ▼
//   ┌───────┬──────┬───────┬─────────┬────────┬─────┬──────┬─────────┐
//   │ free  │ head │ bytes │ comment │ head … │  not yet   │  free   │
//   └───────┴──────┴───────┴─────────┴────────┴─ published ┴─────────┘
//            └────── the writer's ────────────┘└─ the loop's ─┘
//
// A frame is never split: when it does not fit before the end, a head that says so is left there
// and the frame goes to the start.
class RecordRing {
 public:
  struct Record {
    uint64_t wall_ns = 0;
    uint16_t interface = 0;          // of an InterfaceTable
    std::span<const uint8_t> bytes;  // valid until release(), as is the comment
    std::string_view comment;        // UTF-8, cut after kCommentBytesMax; empty: none
    uint32_t frame_bytes = 0;        // of which `bytes` may be the beginning; 0: it is all

    uint32_t wire_bytes() const {
      return frame_bytes != 0 ? frame_bytes : static_cast<uint32_t>(bytes.size());
    }
  };

  explicit RecordRing(size_t size);  // a multiple of kAlignBytes, for two of the longest records

  // The loop's side. add() copies the frame, or its first `snap_bytes`, and says false when there
  // is no room; publish() shows what was added to the writer and returns how many bytes went
  // through the ring so far.
  bool add(uint64_t wall_ns, const Frame& frame, uint16_t interface = 0,
           std::string_view comment = {}, uint32_t snap_bytes = kFrameBytesMax);
  uint64_t publish();

  // The writer's side. next() steps through what was published and says false at its end;
  // release() gives everything stepped over back to the loop.
  bool next(Record& record);
  void release();

  static constexpr size_t kAlignBytes = 16;

 private:
  struct Head {
    uint64_t wall_ns;
    uint64_t bytes : 17;  // 0: nothing more before the end of the ring
    uint64_t wire_bytes : 17;
    uint64_t interface : 16;
    uint64_t comment_bytes : 14;
  };
  static_assert(kFrameBytesMax < 1U << 17U && kCommentBytesMax < 1U << 14U);
  static_assert(sizeof(Head) == kAlignBytes, "a head fits wherever a record may begin");

  static size_t room_for(const Head& head);
  void put_head(uint64_t at, const Head& head);

  size_t size_;
  std::unique_ptr<uint8_t[]> memory_;

  uint64_t added_ = 0;         // loop only
  uint64_t drained_seen_ = 0;  // loop only: the last drained_ it looked at
  uint64_t taken_ = 0;         // writer only

  // Apart from each other, so that one side's store does not take the other's cache line.
  alignas(64) std::atomic<uint64_t> filled_{0};
  alignas(64) std::atomic<uint64_t> drained_{0};
};

}  // namespace netstack
