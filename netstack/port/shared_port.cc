// Every VDE port is one of these, since two plugs may ask for the same number at any time. The cost
// for the usual single endpoint is one virtual call per burst in each direction.
//
// Refused: attaching endpoints to the switch one by one and teaching the switch that some of its
// ports are the same one. Learning, hairpin and VLAN membership would each need to know.
#include "netstack/port/shared_port.h"

#include <algorithm>

#include "netstack/base/check.h"

namespace netstack {
namespace {

// Ingress is counted by the shared port itself: what an endpoint delivers arrives here whole.
void add_egress_and_drops(PortCounters& sum, const PortCounters& more) {
  sum.egress_frames += more.egress_frames;
  sum.egress_bytes += more.egress_bytes;
  for (size_t at = 0; at < kDropReasonCount; ++at) sum.drops[at] += more.drops[at];
}

PortCounters difference(PortCounters from, const PortCounters& less) {
  from.ingress_frames -= less.ingress_frames;
  from.ingress_bytes -= less.ingress_bytes;
  from.egress_frames -= less.egress_frames;
  from.egress_bytes -= less.egress_bytes;
  for (size_t at = 0; at < kDropReasonCount; ++at) from.drops[at] -= less.drops[at];
  return from;
}

}  // namespace

SharedPort::~SharedPort() {
  for (Port* endpoint : endpoints_) endpoint->detach();
}

void SharedPort::plug(Port& endpoint) {
  endpoint.attach(*this, next_id_++);
  endpoints_.push_back(&endpoint);
}

void SharedPort::unplug(Port& endpoint) {
  check(std::erase(endpoints_, &endpoint) == 1, "only a plugged endpoint is unplugged");
  add_egress_and_drops(departed_, endpoint.counters());
  endpoint.detach();
}

PortCounters SharedPort::totals() const {
  return difference(lifetime(), baseline_);
}

void SharedPort::reset_totals() {
  baseline_ = lifetime();
}

PortCounters SharedPort::lifetime() const {
  PortCounters sum = counters();
  sum.egress_frames = 0;
  sum.egress_bytes = 0;
  add_egress_and_drops(sum, departed_);
  for (const Port* endpoint : endpoints_) add_egress_and_drops(sum, endpoint->counters());
  return sum;
}

void SharedPort::receive(PortId endpoint, std::span<Frame> burst) noexcept {
  if (!link_up_) return count_drop(DropReason::kLinkDown, burst.size());
  delivers_ = endpoint;
  deliver(burst);
  delivers_.reset();
}

const Port& SharedPort::origin() const noexcept {
  if (!delivers_) return *this;
  const auto at =
      std::ranges::find(endpoints_, *delivers_, [](const Port* one) { return one->id(); });
  return (*at)->origin();
}

std::span<const FrameNote> SharedPort::notes() const noexcept {
  return delivers_ ? origin().notes() : std::span<const FrameNote>();
}

void SharedPort::forget_sender(PortId gone) noexcept {
  for (Port* endpoint : endpoints_) endpoint->forget_sender(gone);
}

size_t SharedPort::transmit(std::span<const Frame> burst) noexcept {
  if (!link_up_) return 0;
  for (Port* endpoint : endpoints_) endpoint->send(burst);
  return burst.size();
}

}  // namespace netstack
