#pragma once

#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/loop/loop.h"
#include "netstack/port/egress_queue.h"
#include "netstack/port/port_host.h"
#include "netstack/port/unix_socket.h"
#include "netstack/port/watched_fd.h"

namespace netstack {

constexpr uint32_t kVdeFrameBytesMax = 9216 + kTaggedHeadBytes;  // libvdeplug 4's VDE_ETHBUFSIZE
constexpr size_t kVdeDrainBursts_count = 8;                      // of kBurstFrames, per tick
constexpr size_t kVdeLastBursts_count = 16;                      // read from a client that has left
constexpr size_t kVdeBusyFrames_count = 16;  // at a time: more will come at once
constexpr size_t kVdeLoneLooks_count = 8;    // for one frame each: so many are asked for one only

// Backpressure; vde_port.cc says how these play together.
constexpr uint64_t kVdeRest_ns = kMillisecond_ns;            // a sender's longest rest at a time
constexpr size_t kVdeRestFrames_count = 16;                  // read after such a rest
constexpr uint64_t kVdePatience_ns = 200 * kMillisecond_ns;  // for a receiver to catch up, or
constexpr size_t kVdeSteadyFrames_count = 256;               // to take so many meanwhile
constexpr size_t kVdeHold_size = kEgressQueueKeep_size;      // waiting: its sender rests on
constexpr uint64_t kVdeStill_ns = 20 * kMillisecond_ns;      // unless it takes nothing so long

class VdePort;

// Where datagrams arrive. One for all plugs of a listener, since a burst is delivered before the
// next plug is read: a thousand idle plugs cost no buffer.
class DatagramBurst {
 public:
  DatagramBurst();
  DatagramBurst(const DatagramBurst&) = delete;
  DatagramBurst& operator=(const DatagramBurst&) = delete;

  // Up to `frame_count_max` datagrams from `fd`; runts and what is longer than kVdeFrameBytesMax
  // are counted in `counters`, empty datagrams passed over. The frames are valid until the next
  // call.
  std::span<Frame> receive(int fd, PortCounters& counters, size_t frame_count_max = kBurstFrames);

  // The receiver that the last burst's sender should rest for; null: none. Of several, the first.
  VdePort* crowded() const { return crowded_; }
  void note_crowded(VdePort& port) {
    if (crowded_ == nullptr) crowded_ = &port;
  }
  // The last burst went to this receiver whole and, as far as plugs can tell, to nobody else.
  bool is_all_for(const VdePort& port) const {
    return receiver_ == &port && !shared_ && sent_count_ == frame_count_;
  }
  void note_sent(const VdePort& port, std::span<const Frame> frames) {
    shared_ = shared_ || (receiver_ != nullptr && receiver_ != &port) ||
              frames.front().destination().is_group();
    receiver_ = &port;
    sent_count_ += frames.size();
  }

 private:
  void add(size_t i, size_t bytes, PortCounters& counters);

  // A multiple of a cache line, not of a page: equal parts of two frames fall in different sets.
  static constexpr size_t kSlot_size = (kVdeFrameBytesMax + 63) / 64 * 64;

  std::unique_ptr<uint8_t[]> bytes_;
  std::array<mmsghdr, kBurstFrames> messages_{};
  std::array<iovec, kBurstFrames> slots_;
  FrameBatch<kBurstFrames> batch_;
  size_t frame_count_ = 0;  // in the last burst
  VdePort* crowded_ = nullptr;
  const VdePort* receiver_ = nullptr;  // of the last burst, the latest
  bool shared_ = false;                // there were others, or it went to a group
  size_t sent_count_ = 0;
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
  ~VdePort() override;

  // Tells the client where our data socket is. False: it cannot be told, and the port is removed.
  bool reply();

  PeerState peer_state() const noexcept override { return {true, queue_.frame_count()}; }

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;
  DropReason drop_rest_as() const noexcept override { return drop_reason_; }

 private:
  void on_ctl();
  void on_data(uint32_t epoll_events);
  void look();
  void take_last_frames();
  size_t transmit_now(std::span<const Frame> burst);
  void drain();
  void watch_data();
  void leave(std::string_view why);

  // As a sender that rests.
  size_t take_burst(size_t frame_count_max);
  void rest_for(VdePort& receiver);
  void end_full_rest();
  void go_on();
  // As a receiver that senders rest for.
  bool is_worth_a_rest(bool alone);
  bool has_earned_patience(uint64_t now_ns);
  bool is_worth_more_rest();
  void caught_up();
  void send_senders_on();

  Loop& loop_;
  PortHost& host_;
  std::shared_ptr<DatagramBurst> burst_;
  EgressQueue queue_{host_.egress_budget()};
  DropReason drop_reason_ = DropReason::kQueueFull;
  bool left_ = false;
  size_t lone_looks_count_ = 0;     // in a row, that found one frame
  bool fed_ = false;                // since we last looked, it was sent a lot
  VdePort* resting_for_ = nullptr;  // we are in its resting_, and rest_end_ is set
  bool alone_ = false;              // what we read last was all for resting_for_
  Loop::TimerId rest_end_ = 0;
  std::vector<VdePort*> resting_;  // senders that rest for us
  uint64_t patience_ns_ = kVdePatience_ns;
  uint64_t crowded_since_ns_ = 0;  // these four: while patience_end_ns_ is not 0
  uint64_t moved_ns_ = 0;          // when it last took something of what waits
  size_t taken_count_ = 0;         // frames of it, since patience began anew
  uint64_t patience_end_ns_ = 0;   // 0: nothing waits that senders had to rest for
  bool gave_up_ = false;           // its end has come: senders go on, and we drop
  WatchedFd ctl_;
  WatchedFd data_;
  SocketFile file_;
};

}  // namespace netstack
