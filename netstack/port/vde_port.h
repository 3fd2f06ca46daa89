#pragma once

#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "netstack/loop/loop.h"
#include "netstack/port/egress_queue.h"
#include "netstack/port/port_host.h"
#include "netstack/port/unix_socket.h"
#include "netstack/port/watched_fd.h"

namespace netstack {

constexpr uint32_t kVdeFrameBytesMax = 9216 + kTaggedHeadBytes;  // libvdeplug 4's VDE_ETHBUFSIZE
constexpr size_t kVdeDrainBursts_count = 8;                      // of kBurstFrames, per tick
constexpr size_t kVdeLastBursts_count = 16;                      // read from a client that has left

// Where datagrams arrive. One for all plugs of a listener, since a burst is delivered before the
// next plug is read: a thousand idle plugs cost no buffer.
class DatagramBurst {
 public:
  DatagramBurst();
  DatagramBurst(const DatagramBurst&) = delete;
  DatagramBurst& operator=(const DatagramBurst&) = delete;

  // Up to kBurstFrames datagrams from `fd`; runts and what is longer than kVdeFrameBytesMax are
  // counted in `counters`, empty datagrams passed over. The frames are valid until the next call.
  std::span<Frame> receive(int fd, PortCounters& counters);

 private:
  // A multiple of a cache line, not of a page: equal parts of two frames fall in different sets.
  static constexpr size_t kSlot_size = (kVdeFrameBytesMax + 63) / 64 * 64;

  std::unique_ptr<uint8_t[]> bytes_;
  std::array<mmsghdr, kBurstFrames> messages_{};
  std::array<iovec, kBurstFrames> slots_;
  FrameBatch<kBurstFrames> batch_;
};

// What a handshake leaves behind.
struct VdePlug {
  Fd ctl;           // the client's stream to DIR/ctl, silent from now on; its end is the plug's
  Fd data;          // datagram socket, non-blocking, connected to the client's
  SocketFile file;  // the name of `data`
};

// One VDE client ("plug"): an Ethernet frame per datagram, no header, no FCS.
class VdePort final : public Port {
 public:
  // Throws Error when the loop cannot watch it.
  VdePort(Loop& loop, PortHost& host, std::shared_ptr<DatagramBurst> burst, VdePlug plug,
          std::string name);

  // Tells the client where our data socket is. False: it cannot be told, and the port is removed.
  bool reply();

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;
  DropReason drop_rest_as() const noexcept override { return drop_reason_; }

 private:
  void on_ctl();
  void on_data(uint32_t epoll_events);
  void take_last_frames();
  size_t transmit_now(std::span<const Frame> burst);
  void drain();
  void leave(std::string_view why);

  PortHost& host_;
  std::shared_ptr<DatagramBurst> burst_;
  EgressQueue queue_;
  DropReason drop_reason_ = DropReason::kQueueFull;
  bool left_ = false;
  WatchedFd ctl_;
  WatchedFd data_;
  SocketFile file_;
};

}  // namespace netstack
