#pragma once

#include <optional>
#include <string>
#include <vector>

#include "netstack/frame/port.h"

namespace netstack {

// One port of the switch, behind which any number of endpoints sit (each a Port of its own):
//
//                     ┌─────────────── SharedPort ───────────────┐
//   endpoint A ─deliver─► receive() ─────────────────► deliver() ─┼─► switch
//   endpoint B ◄─send───┬─ transmit() ◄──────────────── send() ───┼── switch
//   endpoint A ◄─send───┘                                         │
//                     └───────────────────────────────────────────┘
//
// What the switch sends goes to every endpoint; what one endpoint brings goes to the switch and not
// to its siblings. An endpoint that is full drops for itself alone. Without endpoints the port
// keeps its place in the switch (its number, its VLANs) and takes what it is sent without effect.
//
// Endpoints are borrowed: unplug one before it is destroyed, and between bursts only.
class SharedPort final : public Port, public Sink {
 public:
  // Offloads are left to the endpoints, each of which finishes what its own peer cannot do.
  explicit SharedPort(std::string name) : Port(std::move(name), kFrameBytesMax) {
    take_offloads(kOffloadEverything, false);
  }
  ~SharedPort() override;

  void plug(Port& endpoint);
  void unplug(Port& endpoint);
  size_t endpoint_count() const { return endpoints_.size(); }

  // A cable pulled out: while the link is down nothing passes in either direction, and what would
  // have is counted. The endpoints stay and do not notice.
  void set_link(bool up) { link_up_ = up; }
  bool link_up() const { return link_up_; }

  // What passed since the last reset: frames in, frames that an endpoint took (twice when two took
  // it), and drops by the switch and by endpoints, also of endpoints that have left.
  // counters() counts what the switch handed over instead, with endpoints or without.
  PortCounters totals() const;
  void reset_totals();
  PortCounters lifetime() const;  // the same since the port was made

  void receive(PortId endpoint, std::span<Frame> burst) noexcept override;
  PortId delivering() const noexcept override { return sender(); }
  void forget_sender(PortId gone) noexcept override;

  const Port& origin() const noexcept override;  // the endpoint that is delivering
  std::span<const FrameNote> notes() const noexcept override;

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;
  DropReason drop_rest_as() const noexcept override { return DropReason::kLinkDown; }

 private:
  std::vector<Port*> endpoints_;
  bool link_up_ = true;
  PortId next_id_ = 0;              // for an endpoint: no two share one
  std::optional<PortId> delivers_;  // the endpoint that is delivering
  PortCounters departed_;           // sums of endpoints that have left
  PortCounters baseline_;           // lifetime() at the last reset
};

}  // namespace netstack
