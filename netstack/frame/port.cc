#include "netstack/frame/port.h"

#include <algorithm>

#include "netstack/base/check.h"
#include "netstack/frame/coalesce.h"
#include "netstack/frame/finish.h"

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

void Port::take_offloads(OffloadSet takes, bool joins) {
  takes_ = takes;
  joins_ = joins && (takes & (kOffloadTcp4 | kOffloadTcp6)) != 0;
}

void Port::send(std::span<const Frame> burst) noexcept {
  if (joins_ && Coalescer::concerns(burst, takes_)) return send_joined(burst);
  size_t run_start = 0;  // frames [run_start, at) go out as they are, in one call
  for (size_t at = 0; at < burst.size(); ++at) {
    if (goes_as_it_is(burst[at])) [[likely]]
      continue;
    send_run(burst.subspan(run_start, at - run_start));
    run_start = at + 1;
    send_finished(burst[at]);
  }
  send_run(burst.subspan(run_start));
}

void Port::send_joined(std::span<const Frame> burst) noexcept {
  while (!burst.empty()) {
    const auto part = burst.first(std::min(burst.size(), kBurstFrames));
    for (auto rest = coalescer().join(part, takes_); !rest.empty();) {
      size_t fine = 0;
      while (fine < rest.size() && goes_as_it_is(rest[fine])) ++fine;
      send_run(rest.first(fine));
      if (fine < rest.size()) send_finished(rest[fine++]);
      rest = rest.subspan(fine);
    }
    burst = burst.subspan(part.size());
  }
}

void Port::send_run(std::span<const Frame> run) noexcept {
  if (run.empty()) return;
  const size_t taken = transmit(run);
  check(taken <= run.size(), "a port takes no more than it was given");
  for (const Frame& frame : run.first(taken)) counters_.egress_bytes += frame.bytes;
  counters_.egress_frames += taken;
  if (taken < run.size()) counters_.drop(drop_rest_as(), run.size() - taken);
}

// A frame that does not pass as it is: too long, or with work left undone.
void Port::send_finished(const Frame& frame) noexcept {
  if (!FrameFinisher::concerns(frame, takes_)) return counters_.drop(DropReason::kTooLong);
  FrameFinisher& finisher = frame_finisher();
  if (const auto wrong = finisher.begin(frame, takes_)) return counters_.drop(*wrong);
  for (auto run = finisher.next(); !run.empty(); run = finisher.next()) send_fitting(run);
}

void Port::send_fitting(std::span<const Frame> run) noexcept {
  while (!run.empty()) {
    size_t fitting = 0;
    while (fitting < run.size() && run[fitting].bytes <= frame_bytes_max_) ++fitting;
    send_run(run.first(fitting));
    if (fitting < run.size()) counters_.drop(DropReason::kTooLong);
    run = run.subspan(std::min(run.size(), fitting + 1));
  }
}

}  // namespace netstack
