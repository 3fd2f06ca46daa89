#pragma once

#include <memory>
#include <optional>
#include <span>

#include "netstack/base/counters.h"
#include "netstack/frame/frame.h"
#include "netstack/frame/segment.h"

namespace netstack {

// Does what senders left undone, as far as a receiver cannot: cuts super-frames, sums checksums.
//
//   frame ──┬─ nothing undone, or the receiver does it ──► as it is
//           ├─ a super-frame the receiver cannot cut ────► Segmenter ──► segments, in bursts
//           └─ a checksum the receiver cannot sum ───────► a copy with its checksum
//
// One for each thread is enough: what next() returns is valid until the next call only.
class FrameFinisher {
 public:
  FrameFinisher();
  ~FrameFinisher();

  // True: `frame` needs begin(), for a receiver that does the kinds of work in `takes`.
  static bool concerns(const Frame& frame, OffloadSet takes) {
    return (frame.offload.work() & ~takes) != 0;
  }

  // Nothing, or why the work cannot be done.
  std::optional<DropReason> begin(const Frame& frame, OffloadSet takes);
  std::span<const Frame> next();  // empty: that was all

 private:
  struct Storage;

  std::optional<DropReason> sum(const Frame& frame);

  std::unique_ptr<Storage> storage_;
  bool cutting_ = false;
  bool summed_ = false;
};

FrameFinisher& frame_finisher();  // this thread's

}  // namespace netstack
