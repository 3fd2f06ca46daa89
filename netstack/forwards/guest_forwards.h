#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/base/log_throttle.h"
#include "netstack/config/gateway_config.h"
#include "netstack/flows/guest_packet.h"
#include "netstack/forwards/target_opener.h"
#include "netstack/loop/loop.h"
#include "netstack/nat/nat_engine.h"
#include "netstack/wire/tcp.h"

namespace netstack {

// Places in the guests' network that lead to commands and sockets of the host.
//
//   guest's SYN ─► held ─► the target is opened ─► on to libslirp, whose socket for it is replaced
//                                └ cannot be: RST, and a line that says why
//
// libslirp makes a connection of each SYN it sees. It is sent to a port of the loopback where
// nobody is served, and before anything comes of that, dup3() puts the target in the place of
// libslirp's socket. So every kind of target is alike to libslirp, no byte is copied again, and
// programs of the host that connect to that port get nothing: whatever is accepted there is closed.
//
// Refused: slirp_add_exec, which would start commands from the locked process; slirp_add_unix,
// which connects without O_NONBLOCK; slirp_add_guestfwd, which knows one connection per port.
class GuestForwards {
 public:
  static constexpr size_t kRulesMax = 256;
  static constexpr size_t kPendingMax = 256;                // SYNs held; then guests have to repeat
  static constexpr uint64_t kOpening_ns = 10 * kSecond_ns;  // for a target; then it is refused

  struct Output {
    std::function<void(const ReturnPath&, std::span<const uint8_t> packet)> send_packet;
    std::function<void(std::span<const uint8_t> frame)> send_frame;
  };

  // The gateway's IPv4 address and MAC. `engine` may be constructed later. Throws Error.
  GuestForwards(Loop& loop, const GatewayConfig& config, const Mac& mac, NatEngine& engine,
                Log& log, Output output);
  ~GuestForwards();
  GuestForwards(const GuestForwards&) = delete;
  GuestForwards& operator=(const GuestForwards&) = delete;

  // Of a guest's ARP: answers for the addresses that are ours.
  void hear_arp(std::span<const uint8_t> message);
  // Whether a guest's TCP to there is for one of the places.
  bool serves(const IpAddress& address, uint16_t port) const {
    return !places_.empty() && find(address, port) != nullptr;
  }
  // Such a segment of a guest. True: it is held or answered. False: it now leads to libslirp, as it
  // is.
  bool take(const GuestPacket& packet, const Tcp& tcp, std::span<const uint8_t> frame);
  // A frame of libslirp's as the guest is to see it; valid until the next call.
  std::span<const uint8_t> reword(std::span<const uint8_t> frame);

 private:
  struct Place {
    GuestForward rule;
    uint32_t opener_index = 0;  // unless kTcp
    Fd listener;                // where libslirp connects
    uint16_t listener_port = 0;
  };
  // A guest's SYN that waits for its target.
  struct Pending {
    uint32_t id;
    const Place* place;
    std::vector<uint8_t> frame;
    uint64_t until_ns;
    Fd socket;  // kTcp: the connect under way
  };
  struct Key {
    IpAddress guest;
    uint16_t guest_port;
    IpAddress address;
    uint16_t port;
    auto operator<=>(const Key&) const = default;
  };

  void open_listener(Place& place);
  const Place* find(const IpAddress& address, uint16_t port) const;
  void open(const Key& key, const Place& place, std::span<const uint8_t> frame);
  bool begin(Pending& pending, const Key& key);
  void on_answers();
  void on_connected(const Key& key);
  void finish(std::map<Key, Pending>::iterator at, int errno_value, Fd target);
  void refuse(const Pending& pending, int errno_value);
  void expire();

  Loop& loop_;
  IpAddress gateway_;
  Mac mac_;
  NatEngine& engine_;
  LogThrottle log_;
  Output output_;
  std::vector<Place> places_;
  std::map<Key, Pending> pending_;
  std::optional<TargetOpener> opener_;
  std::vector<uint8_t> reworded_;
  uint32_t id_next_ = 1;
  Loop::TimerId expiry_ = 0;
};

}  // namespace netstack
