#include "netstack/frame/port.h"

#include <memory>

#include "netstack/base/check.h"
#include "netstack/base/checksum.h"

namespace netstack {

Port::Port(std::string name, uint32_t frame_bytes_max)
    : name_(std::move(name)), frame_bytes_max_(frame_bytes_max) {
  check(frame_bytes_max >= kTaggedHeadBytes && frame_bytes_max <= kFrameBytesMax,
        "a port's largest frame fits our buffers");
}

void Port::attach(Sink& sink, PortId id) {
  check(sink_ == nullptr, "a port is attached once");
  sink_ = &sink;
  id_ = id;
}

void Port::detach() {
  sink_ = nullptr;
}

void Port::deliver(std::span<Frame> burst) noexcept {
  if (burst.empty() || sink_ == nullptr) return;
  uint64_t bytes = 0;
  for (const Frame& frame : burst) bytes += frame.bytes;
  counters_.ingress_frames += burst.size();
  counters_.ingress_bytes += bytes;
  sink_->receive(id_, burst);
}

void Port::send(std::span<const Frame> burst) noexcept {
  size_t run_start = 0;  // frames [run_start, at) go out as they are, in one call
  for (size_t at = 0; at < burst.size(); ++at) {
    const Frame& frame = burst[at];
    if (frame.bytes <= frame_bytes_max_ && !frame.offload.needs_checksum) [[likely]]
      continue;
    send_run(burst.subspan(run_start, at - run_start));
    run_start = at + 1;
    if (frame.bytes > frame_bytes_max_) {
      counters_.drop(DropReason::kTooLong);
    } else {
      send_finished(frame);
    }
  }
  send_run(burst.subspan(run_start));
}

void Port::send_run(std::span<const Frame> run) noexcept {
  if (run.empty()) return;
  const size_t taken = transmit(run);
  check(taken <= run.size(), "a port takes no more than it was given");
  for (const Frame& frame : run.first(taken)) counters_.egress_bytes += frame.bytes;
  counters_.egress_frames += taken;
  if (taken < run.size()) counters_.drop(drop_rest_as(), run.size() - taken);
}

void Port::send_finished(const Frame& frame) noexcept {
  thread_local const auto scratch = std::make_unique<std::array<uint8_t, kFrameBytesMax>>();
  const uint32_t bytes = copy_frame(frame, scratch->data());
  // A start in the head would let the sender change addresses, type or tag after the decision.
  if (frame.offload.checksum_start < frame.head_bytes ||
      !finish_checksum({scratch->data(), bytes}, frame.offload.checksum_start,
                       frame.offload.checksum_offset)) {
    counters_.drop(DropReason::kBadOffload);
    return;
  }
  Frame finished;
  iovec body{};
  check(view_frame(scratch->data(), bytes, finished, body), "a frame that was whole stays whole");
  send_run({&finished, 1});
}

}  // namespace netstack
