#pragma once

#include <memory>
#include <string>
#include <vector>

#include "driver/guest.h"
#include "driver/transport_choice.h"
#include "netstack/base/fd.h"
#include "netstack/base/log.h"
#include "netstack/config/gateway_config.h"
#include "netstack/gateway/gateway.h"
#include "netstack/port/watched_fd.h"
#include "tools/lan/lan.h"

namespace tools {

// What `lanyard run` was told about its guest's network.
struct GuestPlugOptions {
  std::string join;       // the LAN's directory; empty: one of its own
  std::string mac;        // of the card that is added; empty: random
  std::string transport;  // empty: the fastest possible
  bool show = false;      // the command will be printed, not started
  bool net_is_chosen = false;
  int give_up_fd = driver::kNoFd;   // readable: QEMU's answers are not wanted any more
  netstack::GatewayConfig gateway;  // of its own LAN
};

// A guest about to start, and our end of its plug if the LAN is its own.
struct PluggedGuest {
  driver::GuestCommand command;
  driver::Transport transport = driver::Transport::kStream;  // of the card
  netstack::Fd ours;                // as a PrivatePlug's; empty: joined, or nothing is plugged in
  netstack::GatewayConfig gateway;  // with what the guest's own network asked for
  netstack::Gateway* running = nullptr;  // once wire() has made it; the LAN's
};

// Plugs the QEMU command in: its own user network if it has one that the gateway can stand in for,
// else a card at its end. Its VDE networks get the fastest transport of their LANs. What stays as
// it was is logged. Throws netstack::Error.
PluggedGuest plug_guest_in(const std::vector<std::string>& command, const GuestPlugOptions& options,
                           netstack::Log& log);

// Where a guest connects by vhost-user: each connection becomes a port of its LAN.
class GuestDoor {
 public:
  using OnGuest = void (*)(Lan& lan, netstack::Fd connected);

  GuestDoor(Lan& lan, netstack::Log& log, netstack::Fd listening, OnGuest on_guest);

 private:
  void open();

  Lan& lan_;
  netstack::Log& log_;
  OnGuest on_guest_;
  netstack::WatchedFd listening_;
};

// Makes the gateway and the guest's port, or the door through which it will come; keep that.
std::unique_ptr<GuestDoor> wire(PluggedGuest& guest, Lan& lan, netstack::Log& log);

}  // namespace tools
