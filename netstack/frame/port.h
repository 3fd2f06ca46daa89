#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "netstack/base/counters.h"
#include "netstack/frame/frame.h"

namespace netstack {

using PortId = uint32_t;  // an index: small, reused after a port has left

// Takes the frames that ports bring in: the switch, or a test.
class Sink {
 public:
  virtual ~Sink() = default;
  // Frames are valid during the call only. May call send() of other ports, never of `ingress`.
  virtual void receive(PortId ingress, std::span<Frame> burst) noexcept = 0;
};

// Sees every frame once, as it enters the switch; never delays or changes it.
class Mirror {
 public:
  virtual ~Mirror() = default;
  virtual void observe(PortId ingress, std::span<const Frame> burst) noexcept = 0;
};

// Anything attached to a switch: a guest's socket, the gateway, a test's memory.
//
//            deliver()  ──►  Sink (ingress)
//   peer ◄─►  Port
//            send()     ◄──  Sink (egress): length, offloads, counters, then transmit()
//
// A subclass brings frames in with deliver() and puts them out in transmit(). Calls take bursts,
// never one frame, so their cost is shared.
class Port {
 public:
  Port(std::string name, uint32_t frame_bytes_max);
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  // Frames longer than frame_bytes_max are dropped and counted, never cut. What their senders left
  // undone and this port's peer cannot do (super-frames, partial checksums) is finished here and
  // nowhere else; segments of one TCP flow are joined for a peer that takes super-frames.
  void send(std::span<const Frame> burst) noexcept;

  void attach(Sink& sink, PortId id);  // called by the switch
  void detach();
  // Also for the switch, which counts here the frames from this port that it decided to drop.
  void count_drop(DropReason reason, uint64_t frames = 1) { counters_.drop(reason, frames); }

  PortId id() const { return id_; }
  const std::string& name() const { return name_; }
  const PortCounters& counters() const { return counters_; }

 protected:
  // Puts frames out and returns how many were taken, counted from the front; the rest is dropped
  // with drop_rest_as(). Nothing may be kept by pointer.
  virtual size_t transmit(std::span<const Frame> burst) noexcept = 0;
  virtual DropReason drop_rest_as() const noexcept { return DropReason::kQueueFull; }

  // What the peer does for itself; nothing unless said here. `joins`: TCP segments that follow each
  // other are joined into super-frames where `takes` has those; a port that only passes frames on
  // leaves that to the next one.
  void take_offloads(OffloadSet takes, bool joins);
  OffloadSet offloads_taken() const { return takes_; }

  void deliver(std::span<Frame> burst) noexcept;
  PortCounters& count() { return counters_; }
  uint32_t frame_bytes_max() const { return frame_bytes_max_; }

 private:
  bool goes_as_it_is(const Frame& frame) const {
    return frame.bytes <= frame_bytes_max_ && (frame.offload.work() & ~takes_) == 0;
  }
  void send_joined(std::span<const Frame> burst) noexcept;
  void send_run(std::span<const Frame> run) noexcept;
  void send_finished(const Frame& frame) noexcept;
  void send_fitting(std::span<const Frame> run) noexcept;

  std::string name_;
  uint32_t frame_bytes_max_;
  OffloadSet takes_ = 0;
  bool joins_ = false;
  Sink* sink_ = nullptr;
  PortId id_ = 0;
  PortCounters counters_;
};

}  // namespace netstack
