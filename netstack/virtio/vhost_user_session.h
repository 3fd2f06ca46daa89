#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/virtio/dirty_log.h"
#include "netstack/virtio/guest_memory.h"
#include "netstack/virtio/in_flight.h"
#include "netstack/virtio/packed_queue.h"
#include "netstack/virtio/split_queue.h"
#include "netstack/virtio/vhost_user_message.h"

namespace netstack {

// What the back end offers the front end.
struct VhostUserOffer {
  uint64_t features = 0;  // virtio and VHOST_F bits
  uint64_t protocol_features = 0;
  uint16_t queue_pair_count = 1;
};

// Who uses the queues. Called from receive() only.
class VhostUserOwner {
 public:
  virtual ~VhostUserOwner() = default;
  virtual void on_features(uint64_t features) = 0;
  // The ring's queue is there from the first call to the second, over all changes of memory.
  virtual void on_ring_start(size_t ring) = 0;
  virtual void on_ring_stop(size_t ring) = 0;
  // A guest that cannot announce itself has migrated to here: its MAC address.
  virtual void on_arrival(const std::array<uint8_t, 6>& mac) = 0;
};

// One front end's connection: negotiation, memory and rings.
//
//   ring      stopped ──── count, addresses in memory, kick ────► started ─┐
//               ▲                                                          │
//               └── GET_VRING_BASE, reset, memory taken away, breach ◄─────┘
//
//   stopped   no queue; everything may be set
//   started   queue; base is the queue's own, memory may change under it, enabled or not
//
// Enabled or not is a matter of the started ring's use: a disabled ring gets no frames, and what
// comes out of it is discarded.
class VhostUserSession {
 public:
  struct Ring {
    std::variant<std::monostate, SplitQueue, PackedQueue> queue;
    bool enabled = false;
    Fd kick;  // empty while started: the front end wants the ring polled
    Fd call;

    bool started() const { return queue.index() != 0; }
    void call_guest() const;  // an interrupt; nothing when the guest polls

   private:
    friend class VhostUserSession;
    uint32_t count = 0;
    uint32_t base = 0;
    bool kick_given = false;
    bool addressed = false;
    VringAddressWire address{};
  };

  // `connected`: a UNIX stream socket. The owner outlives the session.
  VhostUserSession(Fd connected, const VhostUserOffer& offer, VhostUserOwner& owner);

  // Takes what the front end has sent, at most kVhostUserMessagesPerCall_count messages. False: it
  // is over; why() is empty when the front end simply left.
  bool receive();
  const std::string& why() const { return why_; }

  int fd() const { return channel_.fd(); }
  uint64_t features() const { return features_; }
  bool has(uint64_t feature) const { return (features_ & feature) != 0; }
  size_t ring_count() const { return rings_.size(); }
  Ring& ring(size_t at) { return rings_[at]; }
  const GuestMemory& memory() const { return memory_; }

  // Ends all use of the rings, as if the front end had asked for it.
  void stop_rings();

 private:
  enum class Done : uint8_t { kOk, kAnswered, kSent, kRefused };  // kSent: with a descriptor
  using Handler = Done (VhostUserSession::*)(VhostUserMessage&);
  struct Row;
  static const Row* row_of(VhostUserRequest request);

  bool handle(VhostUserMessage& message);
  Done refuse(std::string_view why);

  Done get_features(VhostUserMessage&);
  Done set_features(VhostUserMessage&);
  Done get_protocol_features(VhostUserMessage&);
  Done set_protocol_features(VhostUserMessage&);
  Done set_owner(VhostUserMessage&);
  Done reset(VhostUserMessage&);
  Done get_queue_count(VhostUserMessage&);
  Done announce(VhostUserMessage&);
  Done set_mtu(VhostUserMessage&);
  Done set_status(VhostUserMessage&);
  Done get_status(VhostUserMessage&);

  Done set_memory_table(VhostUserMessage&);
  Done get_memory_slots(VhostUserMessage&);
  Done add_memory(VhostUserMessage&);
  Done remove_memory(VhostUserMessage&);
  Done set_log_base(VhostUserMessage&);
  Done set_log_fd(VhostUserMessage&);
  Done get_in_flight(VhostUserMessage&);
  Done set_in_flight(VhostUserMessage&);

  Done set_ring_count(VhostUserMessage&);
  Done set_ring_address(VhostUserMessage&);
  Done set_ring_base(VhostUserMessage&);
  Done get_ring_base(VhostUserMessage&);
  Done set_ring_kick(VhostUserMessage&);
  Done set_ring_call(VhostUserMessage&);
  Done set_ring_error(VhostUserMessage&);
  Done enable_ring(VhostUserMessage&);

  Ring* ring_named(uint64_t index);
  Done take_ring_fd(VhostUserMessage& message, Fd& fd, Ring*& ring);
  bool is_packed() const { return has(kFeatureRingPacked); }
  bool make_queue(size_t at, bool resume);
  template <class Queue>
  bool make_queue_of(Ring& ring, RingSetup setup, bool resume);
  void try_start(size_t at);
  void stop(size_t at);
  void rebind();
  static uint32_t base_of(const Ring& ring);

  VhostUserChannel channel_;
  VhostUserOffer offer_;
  VhostUserOwner& owner_;
  uint64_t features_ = 0;
  uint64_t protocol_features_ = 0;
  uint8_t status_ = 0;
  GuestMemory memory_;
  DirtyLog log_;
  InFlightRecord in_flight_;
  std::vector<Ring> rings_;
  std::string why_;
};

constexpr size_t kVhostUserMessagesPerCall_count = 64;

}  // namespace netstack
