#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/base/log.h"
#include "netstack/config/gateway_config.h"
#include "netstack/loop/loop.h"
#include "netstack/nat/connect_watch.h"

struct Slirp;

namespace netstack {

// libslirp's time is one variable for the whole process: this is its owner's view of it, shared by
// the instances of one gateway.
struct SlirpClock {
  explicit SlirpClock(Clock& source) : clock(source), start_ns(source.monotonic_ns()) {}
  uint64_t now_ms() const;

  Clock& clock;
  uint64_t start_ns;
  uint64_t polled_ms = 0;  // what the variable holds
};

// One instance of libslirp: it carries TCP, UDP, ARP, NDP and local echo between guests' frames and
// host sockets. NatEngine has many of these and gives each its flows.
//
//   guest frame ─► input() ─► libslirp ─► host sockets
//   guest frame ◄─ on_frame ◄─ libslirp ◄─ on_ready: epoll ─► slirp_pollfds_poll
//                                          end_tick(): slirp_pollfds_fill ─► epoll, by difference
//
// How libslirp's habits are met:
//  - Its clock is a process-wide variable that only slirp_pollfds_poll moves. So one empty fill and
//    poll come right after slirp_new, the clock starts near zero (32-bit milliseconds), and input()
//    polls first when the variable is stale.
//  - fill and poll each walk every socket of the instance, so there is one of each per tick in
//    which the instance was touched, however many frames that tick carried, and none otherwise.
//  - Its register/unregister calls are hints about lifetime only; here they say which descriptor
//    numbers have been reused and must be given to epoll anew.
//  - A failed connect is reported to it as "writable" only. Told of the error, it would send the
//    guest a FIN without a SYN and fall silent; this way it answers RST, and the ConnectWatch
//    knows why.
//  - Urgent data is never reported.
//  - A socket that stays ready and cannot be served would spin the loop: a forward whose client
//    waits while no descriptor is left, for instance. After kFruitlessPollsMax polls that moved
//    nothing, the instance's sockets are left alone for kPause_ns.
class SlirpEngine {
 public:
  static constexpr uint32_t kFruitlessPollsMax = 64;  // in a row
  static constexpr uint64_t kPause_ns = 20 * kMillisecond_ns;

  // A frame for a guest, valid during the call. `send_errno` is errno as the engine left it when
  // it made this frame: why a call failed, if the frame is an ICMP unreachable; or, if it ends a
  // TCP connection that the host has lost, the error of its socket.
  using FrameHandler = std::function<void(std::span<const uint8_t> frame, int send_errno)>;

  // What an instance says of itself. Every instance must know the guests' MACs, but one answer to
  // a guest's ARP or NDP is enough, and so is one that sends router advertisements.
  enum class Voice : uint8_t { kSpeaks, kSilent };

  // Waits for nothing: no socket, no timer.
  static constexpr uint32_t kNoWait_ms = UINT32_MAX;

  // `on_activity` is called whenever end_tick() has become due. Throws Error.
  SlirpEngine(Loop& loop, const GatewayConfig& config, SlirpClock& clock, Voice voice, Log& log,
              ConnectWatch& connects, FrameHandler on_frame, Loop::Handler on_activity);
  ~SlirpEngine();
  SlirpEngine(const SlirpEngine&) = delete;
  SlirpEngine& operator=(const SlirpEngine&) = delete;

  // A whole untagged frame with finished checksums. 0, or the errno with which a call failed of
  // which no frame told: a socket that the host refuses for UDP, say.
  int input(std::span<const uint8_t> frame);

  // A guest's ARP or NDP: learns the MAC, sends what has waited for it. Answers if it has a voice.
  void hear(std::span<const uint8_t> frame);

  // Once per tick in which anything happened. Returns when to call run_timers() at the latest, in
  // milliseconds from now.
  uint32_t end_tick();

  void run_timers() { poll(false); }

  // How often libslirp has asked for a socket, in all fills: what its walks cost.
  uint64_t socket_visits_count() const { return socket_visits_count_; }

  // Has libslirp send what waits in its queues for a guest's MAC, as far as that is known by now,
  // and give up what has waited too long.
  void send_waiting() { poll(false); }

  // --- host sockets that lead into guests (slirp_listeners.cc) ---

  // From now on connections (TCP) or datagrams (UDP) that come to `socket` go to that port of the
  // guest. `socket` is bound, if TCP listens, never blocks, is of the guest's address family and
  // stays the caller's: libslirp gets a duplicate. Throws Error.
  void lead_in(int socket, Protocol protocol, const IpAddress& guest, uint16_t port);
  // No longer. What has been accepted goes on. `socket` need not listen any more.
  void stop_leading_in(int socket, Protocol protocol);
  // Connects a stream socket of whatever family with a guest's TCP port. Returns the port of the
  // gateway's address from which the guest is called; 0: the host had no socket for it (errno).
  uint16_t hand_over(Fd connection, const IpAddress& guest, uint16_t port);
  // input() of a guest's SYN whose connection is to be `target`, a connected stream socket of
  // whatever family, in the place of the one libslirp makes. False: it made none.
  bool input_instead(std::span<const uint8_t> frame, Fd target);
  // input() of a guest's RST: the host's side is reset as well, where libslirp would send a FIN.
  void input_reset(std::span<const uint8_t> frame);

 private:
  struct Callbacks;
  struct Timer;
  struct Descriptor {
    uint32_t asked = 0;       // epoll events in the nested epoll; 0: not in there
    uint32_t ready = 0;       // epoll events of this poll
    uint32_t generation = 0;  // of the fill that asked last
    int lost_errno = 0;       // of a TCP connection that the host has lost
  };
  struct Poll {  // one add_poll of the last fill
    int fd;
    bool connecting;  // asked for writing only: a connect under way
  };

  void poll(bool with_sockets);
  void serve_only(int fd, uint32_t epoll_events);
  int add_listener(const IpAddress& guest, uint16_t port, Protocol protocol);
  void remove_listener(int fd, Protocol protocol);
  Fd make_caller(bool v6) const;
  int call_and_replace(int listener, Fd connection, uint16_t& port_inside);
  void poll_if_stale();
  void collect_ready();
  void pause_if_fruitless(uint64_t moves_before);
  int add_poll(int fd, int slirp_events);
  int ready_events(int index);
  void poll_slirp(bool with_sockets);
  void ask(int fd, uint32_t epoll_events);
  void leave_out_stale();
  void forget_descriptor(int fd);

  Loop& loop_;
  Log& log_;
  ConnectWatch& connects_;
  FrameHandler on_frame_;
  Loop::Handler on_activity_;
  SlirpClock& clock_;
  Voice voice_;
  bool hearing_ = false;
  Fd epoll_;  // nested: all of the instance's sockets behind one descriptor of the loop
  std::unordered_map<int, Descriptor> descriptors_;
  std::vector<Poll> polls_;  // of the last fill, by the index libslirp got
  std::vector<int> asked_;   // descriptors in the nested epoll
  std::vector<int> ready_;   // descriptors with ready events
  uint32_t generation_ = 0;
  uint64_t frame_count_ = 0;  // made for guests
  uint64_t socket_visits_count_ = 0;
  uint64_t moves_ = 0;  // frames made, sockets opened or closed, events asked for anew
  uint64_t moves_at_last_poll_ = 0;
  uint32_t fruitless_polls_ = 0;
  Loop::TimerId pause_ = 0;
  std::map<int, int> leads_;  // sockets that lead into guests: the caller's, libslirp's
  std::unordered_map<int, uint16_t> ports_inside_;  // of connections handed over, by descriptor
  int opened_ = -1;                                 // the socket that libslirp made last
  bool resetting_ = false;                          // what is closed now is reset
  int lost_errno_ = 0;  // of the socket that libslirp looks at in its poll
  Slirp* slirp_ = nullptr;
};

}  // namespace netstack
