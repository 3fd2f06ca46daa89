#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/loop/loop.h"
#include "netstack/port/egress_queue.h"
#include "netstack/port/port_host.h"
#include "netstack/vhost_user/vhost_user_poller.h"
#include "netstack/virtio/vhost_user_session.h"

namespace netstack {

constexpr uint16_t kQueuePairs_max = 8;
constexpr size_t kReceiveChains_max = 512;  // guest buffers that one frame may be spread over
constexpr size_t kBodyParts_max = 64;       // pieces of a frame in guest memory; more are copied
constexpr size_t kBounce_size = 4 * (kFrameBytesMax + 1);  // for those copies, per burst

VhostUserOffer vhost_user_offer();  // the features and limits of this port

// A guest's network card, its virtqueues read and written here in the guest's own memory.
//
//   guest transmit ring ─► frames whose bodies lie in guest memory ─► switch
//   switch ─► one copy, from wherever the frame lies, into the guest's receive buffers
//
// Super-frames and partial checksums pass as they are, as far as the guest's driver has agreed. A
// receive ring without buffers makes frames wait in an EgressQueue until the guest refills it. A
// guest whose rings break the rules, or a front end that does, loses its port.
class VhostUserPort final : public Port, private VhostUserOwner {
 public:
  // `connected`: a front end's socket. `poller` outlives the port. Throws Error when the loop
  // cannot watch it.
  VhostUserPort(Loop& loop, PortHost& host, VhostUserPoller& poller, Fd connected,
                std::string name);
  ~VhostUserPort() override;

  // For the poller.
  bool awake() const { return awake_; }
  bool poll();        // takes at most one burst from each ring; true: there was something
  bool sleep();       // false: there is work, so it stays awake
  void call_guest();  // for each ring with news since the last time

  PeerState peer_state() const noexcept override {
    return {receive_pair_count() != 0, waiting_.frame_count()};
  }

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;
  DropReason drop_rest_as() const noexcept override { return drop_reason_; }

 private:
  struct Ingress;

  void on_features(uint64_t features) override;
  void on_ring_start(size_t ring) override;
  void on_ring_stop(size_t ring) override;
  void on_arrival(const std::array<uint8_t, 6>& mac) override;
  void on_socket();
  void wake();

  bool pull(size_t ring);
  template <class Queue>
  bool pull_from(Queue& queue, bool discard);
  void take(const Chain& chain);
  bool read_head(const Chain& chain, Frame& frame);
  void join_parts(Frame& frame);
  void deliver_taken();

  size_t ring_for(const Frame& frame) const;
  size_t receive_pair_count() const;
  size_t put_burst(std::span<const Frame> burst);
  template <class Queue>
  size_t put_run(Queue& queue, std::span<const Frame> run);
  template <class Queue>
  size_t put_singles(Queue& queue, std::span<const Frame> run);
  void write_whole(const Frame& frame, uint8_t* at) const;
  template <class Queue>
  bool put_one(Queue& queue, const Frame& frame);
  template <class Queue>
  bool take_buffers(Queue& queue, size_t size);
  void copy_out(const Frame& frame);
  void lose_taken(const Frame& frame, DropReason reason);
  size_t wait(std::span<const Frame> burst);
  bool drain();
  void abandon_waiting();
  void leave(std::string_view why);

  Loop& loop_;
  PortHost& host_;
  VhostUserPoller& poller_;
  VhostUserSession session_;
  std::vector<size_t> started_;  // rings, ascending
  OffloadSet leaves_ = 0;        // what the guest may leave undone
  uint32_t header_size_ = 0;     // of the virtio-net header, by the features
  bool mergeable_ = false;
  bool awake_ = false;
  bool left_ = false;
  DropReason drop_reason_ = DropReason::kQueueFull;
  std::unique_ptr<Ingress> ingress_;
  ChainParts receive_parts_;
  std::array<Chain, kBurstFrames> singles_;
  std::vector<Chain> receive_chains_;
  std::vector<iovec> wait_parts_;
  EgressQueue waiting_{host_.egress_budget()};
};

}  // namespace netstack
