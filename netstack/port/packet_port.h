#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "netstack/loop/loop.h"
#include "netstack/port/egress_queue.h"
#include "netstack/port/port_host.h"
#include "netstack/port/vnet_header.h"
#include "netstack/port/watched_fd.h"

namespace netstack {

constexpr size_t kPacketBurst_count = 32;           // frames per recvmmsg; each may be 64 KiB
constexpr int kPacketReceiveBuffer_size = 8 << 20;  // asked of the kernel: 120 super-frames
constexpr size_t kPacketDrainBursts_count = 8;      // of kBurstFrames, per tick

// A plug into an existing interface of this machine, over a packet socket: what arrives at the
// interface comes in here, what is sent to this port leaves by the interface. Needs CAP_NET_RAW and
// no /dev/net/tun. The natural use is one end of a veth pair, whose other end a bridge or a
// container holds.
//
//   container ◄─► veth ═══ veth ◄─ packet socket ─► PacketPort ◄─► LAN
//
// Not seen: what this machine itself sends out through the interface. Give the machine's address to
// the other end of the pair, and set the joined end `arp off`: it hears the LAN as any interface
// does, and Linux answers ARP for all of a machine's addresses on all of its interfaces.
class PacketPort final : public Port {
 public:
  // `socket`: bound, non-blocking, prepared by open_packet. Throws Error when the loop cannot watch
  // it.
  PacketPort(Loop& loop, PortHost& host, Fd socket, std::string interface);
  ~PacketPort() override;

  PeerState peer_state() const noexcept override { return {true, queue_.frame_count()}; }

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;
  DropReason drop_rest_as() const noexcept override { return drop_reason_; }

 private:
  struct Ingress;

  void on_ready(uint32_t epoll_events);
  void pull();
  void take(size_t slot);
  void deliver_batch();
  void count_kernel_drops();
  size_t transmit_now(std::span<const Frame> burst);
  bool pass_over_refused(uint32_t frame_bytes);
  void drain();
  void leave();

  PortHost& host_;
  std::string interface_;
  unsigned interface_index_;
  std::unique_ptr<Ingress> ingress_;
  EgressQueue queue_{host_.egress_budget()};
  DropReason drop_reason_ = DropReason::kQueueFull;
  bool left_ = false;
  WatchedFd socket_;
};

// Joins the interface of that name, which must be up and Ethernet. Throws Error, one line: no such
// interface, no CAP_NET_RAW, down, not Ethernet.
std::unique_ptr<PacketPort> open_packet(Loop& loop, PortHost& host, const std::string& interface);

}  // namespace netstack
