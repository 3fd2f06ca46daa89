#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/base/log.h"
#include "netstack/gateway/gateway_config.h"
#include "netstack/loop/loop.h"

struct Slirp;

namespace netstack {

// The NAT engine: libslirp carries TCP, UDP, ARP, NDP and local echo between guests' frames
// and host sockets. What must not reach it, the gateway keeps away (see gateway.cc).
//
//   guest frame ─► input() ─► libslirp ─► host sockets
//   guest frame ◄─ on_frame ◄─ libslirp ◄─ on_ready: epoll ─► slirp_pollfds_poll
//                                          end_tick(): slirp_pollfds_fill ─► epoll, by difference
//
// How libslirp's habits are met:
//  - Its clock is a process-wide variable that only slirp_pollfds_poll moves. So one empty fill and
//    poll come right after slirp_new, the clock starts near zero (32-bit milliseconds), and input()
//    polls first when the variable is stale.
//  - fill and poll each walk every socket, so there is one of each per tick, however many frames
//  the
//    tick carried. Without sockets, fragments or timers, there is no wake-up at all.
//  - Its register/unregister calls are hints about lifetime only; here they say which descriptor
//    numbers have been reused and must be given to epoll anew.
//  - A failed connect is reported to it as "writable" only. Told of the error, it would send the
//    guest a FIN without a SYN and fall silent; this way it answers RST, and on_frame learns the
//    errno.
//  - Urgent data is never reported.
//  - A socket that stays ready and cannot be served would spin the loop: a forward whose client
//  waits
//    while no descriptor is left, for instance. After kFruitlessPollsMax polls that moved nothing,
//    its sockets are left alone for kPause_ns.
class SlirpEngine {
 public:
  static constexpr uint32_t kFruitlessPollsMax = 64;  // in a row
  static constexpr uint64_t kPause_ns = 20 * kMillisecond_ns;

  // A frame for a guest, valid during the call. `connect_errno` is the errno of the failed connect
  // this frame (a TCP RST) reports, 0 for every other frame. `send_errno` is errno as the engine
  // left it when it made this frame: why a send failed, if the frame is an ICMP unreachable.
  using FrameHandler =
      std::function<void(std::span<const uint8_t> frame, int connect_errno, int send_errno)>;

  // Throws Error when a forward's address is busy or forbidden.
  SlirpEngine(Loop& loop, const GatewayConfig& config, Log& log, FrameHandler on_frame,
              Loop::Handler on_activity);
  ~SlirpEngine();
  SlirpEngine(const SlirpEngine&) = delete;
  SlirpEngine& operator=(const SlirpEngine&) = delete;

  void input(std::span<const uint8_t> frame);  // a whole untagged frame with finished checksums
  void end_tick();                             // once per tick in which anything happened

  // Has libslirp send what waits in its queues for a guest's MAC, as far as that is known by now,
  // and give up what has waited too long.
  void send_waiting() { poll(false); }

 private:
  struct Callbacks;
  struct Timer;
  struct Descriptor {         // by descriptor number
    uint32_t asked = 0;       // epoll events in the nested epoll; 0: not in there
    uint32_t ready = 0;       // epoll events of this poll
    uint32_t generation = 0;  // of the fill that asked last
  };
  struct Poll {  // one add_poll of the last fill
    int fd;
    bool connecting;  // asked for writing only: a connect under way
  };

  void add_forward(const HostForward& forward);
  uint64_t now_ms() const;
  void poll(bool with_sockets);
  void collect_ready();
  void pause_if_fruitless(uint64_t moves_before);
  int add_poll(int fd, int slirp_events);
  int ready_events(int index);
  void ask(int fd, uint32_t epoll_events);
  void leave_out_stale();
  void forget_descriptor(int fd);
  void set_wake_up(uint32_t timeout_ms);
  Descriptor& descriptor(int fd);

  Loop& loop_;
  Log& log_;
  FrameHandler on_frame_;
  Loop::Handler on_activity_;
  uint64_t start_ns_;
  uint64_t polled_ms_ = 0;
  Fd epoll_;  // nested: all of libslirp's sockets behind one descriptor of the loop
  std::vector<Descriptor> descriptors_;
  std::vector<Poll> polls_;  // of the last fill, by the index libslirp got
  std::vector<int> asked_;   // descriptors in the nested epoll
  std::vector<int> ready_;   // descriptors with ready events
  uint32_t generation_ = 0;
  int connect_errno_ = 0;
  uint64_t moves_ = 0;  // frames made, sockets opened or closed, events asked for anew
  uint64_t moves_at_last_poll_ = 0;
  uint32_t fruitless_polls_ = 0;
  Loop::TimerId pause_ = 0;
  Loop::TimerId wake_up_ = 0;
  Slirp* slirp_ = nullptr;
};

}  // namespace netstack
