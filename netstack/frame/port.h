#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "netstack/base/counters.h"
#include "netstack/frame/frame.h"

namespace netstack {

using PortId = uint32_t;  // an index: small, reused after a port has left

class Port;

// Takes the frames that ports bring in: the switch, or a test.
class Sink {
 public:
  virtual ~Sink() = default;
  // Frames are valid during the call only. May call send() of other ports, never of `ingress`.
  virtual void receive(PortId ingress, std::span<Frame> burst) noexcept = 0;
  // The port whose burst is being handed on, for a port that is sent some of it and must know who
  // sends, whatever address stands in the frames. 0: nobody's, or it is not told.
  virtual PortId delivering() const noexcept { return 0; }
};

// Sees every frame once, as it enters the switch; never delays or changes it.
class Mirror {
 public:
  virtual ~Mirror() = default;
  // May ask `ingress` for its origin() and notes(), which tell of this burst.
  virtual void observe(const Port& ingress, std::span<const Frame> burst) noexcept = 0;
};

// What a port has to say about one frame of the burst it is delivering: why the gateway made it.
// Notes stay with the port, and a mirror that wants them asks; a frame has no room for them, and a
// list of its own that port and mirror share could fall out of step with the frames.
struct FrameNote {
  size_t index;           // of the frame in the burst
  std::string_view text;  // UTF-8, one line
};

// How a port's peer keeps up, for those who look after a LAN.
struct PeerState {
  bool ready = true;         // false: nobody is there to take frames, a guest's driver is not up
  size_t waiting_count = 0;  // frames it has yet to take; they were counted as egress
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

  // For a mirror, and only while this port delivers a burst: whose frames they are (an endpoint's,
  // when several share a port), and notes on some of them, by ascending index. Both are valid until
  // the delivery is over.
  virtual const Port& origin() const noexcept { return *this; }
  virtual std::span<const FrameNote> notes() const noexcept { return {}; }

  virtual PeerState peer_state() const noexcept { return {}; }

  // Whoever was at that port of the switch has left it, for a port that keeps account by sender():
  // the next one there is another.
  virtual void forget_sender(PortId) noexcept {}

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

  // In transmit(): the port of the switch that brought these frames in, as Sink::delivering().
  PortId sender() const { return sink_ == nullptr ? 0 : sink_->delivering(); }

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
