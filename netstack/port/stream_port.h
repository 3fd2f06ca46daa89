#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "netstack/loop/loop.h"
#include "netstack/port/egress_queue.h"
#include "netstack/port/port_host.h"
#include "netstack/port/watched_fd.h"

namespace netstack {

constexpr size_t kStreamLength_size = 4;         // big-endian, before each frame
constexpr size_t kStreamRead_size = 128 * 1024;  // per pull: this bounds what one peer gets done
static_assert(kStreamRead_size > kStreamLength_size + kFrameBytesMax,
              "behind the longest partial frame there is room to read on");

// A guest on a connected stream socket, framed as QEMU's `-netdev stream` does it:
//
//   ┌──────────────┬───────────────┬──────────────┬───────────────┬─ ─ ─
//   │ length (BE)  │ frame, no FCS │ length (BE)  │ frame, no FCS │
//   └──────────────┴───────────────┴──────────────┴───────────────┴─ ─ ─
//     4 bytes        length bytes
//
// A peer that closes leaves silently. One that announces a frame of no bytes, or of more than
// kFrameBytesMax, has lost its place in the stream or never had one: its port is removed.
class StreamPort final : public Port {
 public:
  // `connected`: non-blocking. Throws Error when the loop cannot watch it.
  StreamPort(Loop& loop, PortHost& host, Fd connected, std::string name);

  PeerState peer_state() const noexcept override { return {true, queue_.frame_count()}; }

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;
  DropReason drop_rest_as() const noexcept override { return drop_reason_; }

 private:
  // One read's worth of stream and the frames found in it.
  struct Ingress {
    FrameBatch<kBurstFrames> batch;
    uint8_t bytes[kStreamRead_size];
  };

  void on_ready(uint32_t epoll_events);
  void pull();
  void take_frames();
  void take_frame(const uint8_t* frame, size_t size);
  void deliver_batch();
  size_t transmit_now(std::span<const Frame> burst);
  size_t keep_rest_of(std::span<const Frame> burst, size_t sent_size);
  void drain();
  void stop_sending();
  void leave(std::string_view why);

  PortHost& host_;
  EgressQueue queue_{host_.egress_budget()};
  std::unique_ptr<Ingress> ingress_;
  size_t ingress_size_ = 0;  // bytes at the buffer's start that are not a whole frame yet
  DropReason drop_reason_ = DropReason::kQueueFull;
  bool peer_reads_ = true;
  bool left_ = false;
  WatchedFd socket_;
};

}  // namespace netstack
