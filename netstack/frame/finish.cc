// Offload work, in the one place where it is finished. A port says what its peer can do; what it
// cannot is done here, on the way out, so that no port knows how to cut or sum, and work is done
// only where a frame meets a receiver that needs it: a super-frame flooded to two guests and one
// VDE plug is cut once.
//
// A frame whose cutting the receiver takes over but not its checksum keeps its order to be cut: the
// sum is that of the whole super-frame.
//
// Summing copies the frame: the sum must belong to the bytes that go out, and a guest may rewrite
// its memory in between. Cutting does not (see segment.cc): a segment's payload goes out of the
// guest's memory as it is then, and the receiver's checksum finds out.
#include "netstack/frame/finish.h"

#include <array>

#include "netstack/base/checksum.h"

namespace netstack {

struct FrameFinisher::Storage {
  Segmenter segmenter;
  std::array<uint8_t, kFrameBytesMax> copy;
  iovec body;
  Frame frame;
};

FrameFinisher::FrameFinisher() : storage_(std::make_unique<Storage>()) {}
FrameFinisher::~FrameFinisher() = default;

std::optional<DropReason> FrameFinisher::begin(const Frame& frame, OffloadSet takes) {
  const OffloadSet missing = frame.offload.work() & static_cast<OffloadSet>(~takes);
  cutting_ = (missing & ~kOffloadChecksum) != 0;
  summed_ = false;
  return cutting_ ? storage_->segmenter.begin(frame) : sum(frame);
}

std::optional<DropReason> FrameFinisher::sum(const Frame& frame) {
  Storage& storage = *storage_;
  if (frame.bytes > kFrameBytesMax) return DropReason::kTooLong;
  copy_frame(frame, storage.copy.data());
  // A start in the head would let the sender change addresses, type or tag after the decision.
  if (frame.offload.checksum_start < frame.head_bytes) return DropReason::kBadOffload;
  if (!finish_checksum({storage.copy.data(), frame.bytes}, frame.offload.checksum_start,
                       frame.offload.checksum_offset)) {
    return DropReason::kBadOffload;
  }
  storage.frame = frame;
  storage.frame.offload.needs_checksum = false;
  storage.body = {&storage.copy[frame.head_bytes], frame.bytes - frame.head_bytes};
  storage.frame.body = {&storage.body, 1};
  summed_ = true;
  return std::nullopt;
}

std::span<const Frame> FrameFinisher::next() {
  if (cutting_) return storage_->segmenter.next();
  if (!summed_) return {};
  summed_ = false;
  return {&storage_->frame, 1};
}

FrameFinisher& frame_finisher() {
  thread_local FrameFinisher finisher;
  return finisher;
}

}  // namespace netstack
