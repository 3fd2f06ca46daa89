#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "netstack/base/log.h"
#include "netstack/config/gateway_config.h"
#include "netstack/loop/loop.h"
#include "netstack/nat/slirp_engine.h"

namespace netstack {

// The NAT engine: kInstances_count instances of libslirp, each with the flows of some of the
// guests' ports. See nat_engine.cc.
//
//                       ┌─ instance 0 ── answers ARP, NDP and echo ──┐
//   guest frame ─► port ┼─ instance 1                                ├─► host sockets
//                       └─ …                                         ┘
class NatEngine {
 public:
  static constexpr size_t kInstances_count = 64;
  static constexpr size_t kRoundInstances_count = 8;  // whose timers run in one tick, at most

  // Throws Error.
  NatEngine(Loop& loop, const GatewayConfig& config, Log& log, ConnectWatch& connects,
            SlirpEngine::FrameHandler on_frame, Loop::Handler on_activity);
  ~NatEngine();
  NatEngine(const NatEngine&) = delete;
  NatEngine& operator=(const NatEngine&) = delete;

  int input(std::span<const uint8_t> frame);  // as SlirpEngine::input()
  void end_tick();                            // once per tick in which anything happened

  // Has the instance that serves this port of the guests send what waits in its queues for a
  // guest's MAC, as far as that is known by now, and give up what has waited too long.
  void send_waiting(uint16_t guest_port) { of(guest_port).run_timers(); }

  // Host sockets that lead into guests, as SlirpEngine has them.
  void lead_in(int socket, Protocol protocol, const IpAddress& guest, uint16_t port) {
    of(port).lead_in(socket, protocol, guest, port);
  }
  void stop_leading_in(int socket, Protocol protocol, uint16_t port) {
    of(port).stop_leading_in(socket, protocol);
  }
  uint16_t hand_over(Fd connection, const IpAddress& guest, uint16_t port) {
    return of(port).hand_over(std::move(connection), guest, port);
  }
  bool input_instead(std::span<const uint8_t> frame, Fd target, uint16_t guest_port) {
    return of(guest_port).input_instead(frame, std::move(target));
  }
  void input_reset(std::span<const uint8_t> frame, uint16_t guest_port) {
    of(guest_port).input_reset(frame);
  }

  uint64_t socket_visits_count() const;

 private:
  using Mask = uint64_t;  // a set of instances
  static_assert(kInstances_count == 64, "a mask has one bit for each instance");

  size_t index_of(uint16_t guest_port) const;
  SlirpEngine& of(uint16_t guest_port) { return *instances_[index_of(guest_port)]; }
  void take_waits(size_t index, uint32_t wait_ms);
  void set_timers();
  void run_some(Mask& due);

  Loop& loop_;
  SlirpClock clock_;
  uint64_t seed_;
  Mask touched_ = 0;  // since its last end_tick()
  Mask live_ = 0;     // waits for sockets or timers
  Mask hurried_ = 0;  // waits for a timer that is due before the next round
  Mask round_ = 0;    // still to be served in this round
  uint64_t round_start_ns_ = 0;
  Loop::TimerId round_timer_ = 0;
  Loop::TimerId hurry_timer_ = 0;
  uint32_t hurry_ms_ = 0;
  std::array<std::unique_ptr<SlirpEngine>, kInstances_count> instances_;
};

}  // namespace netstack
