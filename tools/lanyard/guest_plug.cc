#include "tools/lanyard/guest_plug.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <utility>

#include "driver/program.h"
#include "driver/qemu_command.h"
#include "driver/rewiring.h"
#include "driver/user_network.h"
#include "netstack/base/error.h"
#include "netstack/gateway/gateway.h"
#include "tools/lanyard/user_gateway.h"

namespace tools {

using driver::LanSockets;
using driver::Network;
using driver::Rewiring;
using driver::Transport;
using driver::TransportChoice;
using netstack::Error;

namespace {

// Makes a guest's vhost-user connection a port of its private LAN. Null: this LAN has no such port,
// and its guest is plugged in by stream.
GuestDoor::OnGuest private_fast_path() {
  return
      [](Lan& lan, netstack::Fd connected) { lan.add_vhost_user(std::move(connected), "guest"); };
}

// Does the LAN take guests by vhost-user? `directory` empty: the guest's own.
bool fast_path_available(const std::string& directory) {
  return directory.empty() ? private_fast_path() != nullptr
                           : driver::lan_sockets(directory).vhost_user;
}

LanSockets sockets_of(const std::string& directory) {
  LanSockets sockets;
  sockets.stream = true;
  if (!directory.empty()) sockets = driver::lan_sockets(directory);
  sockets.vhost_user = fast_path_available(directory);
  return sockets;
}

Transport chosen(const TransportChoice& choice, const GuestPlugOptions& options) {
  if (choice.transport) return *choice.transport;
  const bool forced = !options.transport.empty();
  throw Error(EX_UNAVAILABLE,
              fmt::format("cannot plug the guest in{}: {}; {}",
                          forced ? " as --transport asks" : "", choice.passed_over,
                          forced ? "leave --transport out for the fastest that is possible"
                                 : "QEMU 7.2 or newer is needed"));
}

std::string lower(std::string text) {
  for (char& letter : text) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return text;
}

// The address that one of the guest's cards is sure to get; nothing: the first free one.
std::optional<netstack::IpAddress> promised_address(const std::vector<std::string>& argv,
                                                    const netstack::GatewayConfig& gateway) {
  for (const netstack::StaticLease& lease : gateway.names.leases) {
    const std::string card = "mac=" + to_string(lease.mac);
    for (const std::string& word : argv) {
      if (lower(word).find(card) != std::string::npos) return lease.address;
    }
  }
  return std::nullopt;
}

// Forwards that name no guest lead to this one, wherever --lease puts it.
void lead_to_this_guest(netstack::GatewayConfig& gateway, const std::vector<std::string>& argv) {
  const auto address = promised_address(argv, gateway);
  if (!address) return;
  for (netstack::HostForward& forward : gateway.forwards) {
    if (forward.guest_address == netstack::IpAddress{}) forward.guest_address = *address;
  }
}

class Plugging {
 public:
  Plugging(const std::vector<std::string>& command, const GuestPlugOptions& options,
           netstack::Log& log)
      : options_(options),
        log_(log),
        forced_(driver::transport_named(options.transport)),
        wiring_(command, surroundings(command)) {
    guest_.command.program = program_;
    guest_.gateway = options.gateway;
  }

  PluggedGuest plug() {
    for (const std::string& note : wiring_.replug_vde_networks(forced_)) log_.line(note);
    if (!options_.join.empty()) {
      join();
    } else if (!carry_user_network()) {
      add_card();
    }
    guest_.command.argv = wiring_.argv();
    lead_to_this_guest(guest_.gateway, guest_.command.argv);
    guest_.command.inherited = wiring_.take_inherited();
    return std::move(guest_);
  }

 private:
  driver::Surroundings surroundings(const std::vector<std::string>& command) {
    driver::check_guest_command(command);
    const char* path = std::getenv("PATH");
    program_ = driver::find_program(command[0], path != nullptr ? path : "/usr/bin:/bin");
    auto surroundings = driver::Surroundings::of_this_host(program_, options_.give_up_fd);
    if (options_.show) surroundings.plug = driver::name_plug;
    return surroundings;
  }

  void join() {
    const LanSockets lan = sockets_of(options_.join);
    const bool nothing = !lan.vhost_user && !lan.stream && !lan.vde;
    const Transport transport = nothing ? Transport::kStream  // whose attempt says what is wrong
                                        : chosen(wiring_.choose_for_card(lan, forced_), options_);
    guest_.transport = transport;
    const auto plug = options_.show && !nothing ? driver::name_plug : driver::plug_into_lan;
    wiring_.add_card(plug(options_.join, transport, wiring_.qemu()),
                     driver::card_mac(options_.mac));
  }

  driver::Attachment private_plug(Transport transport) {
    driver::PrivatePlug plug = driver::plug_privately(transport);
    guest_.transport = transport;
    guest_.ours = std::move(plug.ours);
    return std::move(plug.guest);
  }

  void add_card() {
    const std::string mac = driver::card_mac(options_.mac);
    const auto choice = wiring_.choose_for_card(sockets_of(""), forced_);
    wiring_.add_card(private_plug(chosen(choice, options_)), mac);
  }

  // True: the guest has its network, and needs no card from us.
  bool carry_user_network() {
    bool carried = false;
    bool restricted = false;
    for (const Network& network : wiring_.networks()) {
      if (network.kind != Network::Kind::kUser) continue;
      const auto user = driver::UserNetwork::read(network.list);
      std::string why = carried ? "the LAN carries one user network" : wiring_.refusal(network);
      if (why.empty()) why = stand_in_for(user, options_.net_is_chosen, guest_.gateway);
      if (why.empty()) {
        carry(network);
        carried = true;
        continue;
      }
      log_.line(fmt::format("{}: left as it is: {}", network.name(), why));
      restricted = restricted || user.restricted;
    }
    if (carried || !restricted) return carried;
    log_.line("no card is added: beside restrict=on it would open what that closes");
    return true;
  }

  void carry(const Network& network) {
    if (!options_.mac.empty()) {
      throw Error(EX_USAGE,
                  fmt::format("cannot use --mac: the guest has a card of its own, on {}; give the "
                              "MAC there, with mac=",
                              network.name()));
    }
    const auto choice = wiring_.choose(network, sockets_of(""), forced_);
    wiring_.replug(network, private_plug(chosen(choice, options_)));
  }

  const GuestPlugOptions& options_;
  netstack::Log& log_;
  std::optional<Transport> forced_;
  std::string program_;
  Rewiring wiring_;
  PluggedGuest guest_;
};

}  // namespace

PluggedGuest plug_guest_in(const std::vector<std::string>& command, const GuestPlugOptions& options,
                           netstack::Log& log) {
  return Plugging(command, options, log).plug();
}

GuestDoor::GuestDoor(Lan& lan, netstack::Log& log, netstack::Fd listening, OnGuest on_guest)
    : lan_(lan),
      log_(log),
      on_guest_(on_guest),
      listening_(lan.loop(), std::move(listening), EPOLLIN, [this](uint32_t) { open(); }) {}

void GuestDoor::open() {
  netstack::Fd guest(::accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (guest) {
    on_guest_(lan_, std::move(guest));
  } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
    log_.line(fmt::format("cannot let the guest in: {}; raise `ulimit -n` and start it again",
                          netstack::errno_text(errno)));
    listening_.rewatch(0);
  }
}

std::unique_ptr<GuestDoor> wire(PluggedGuest& guest, Lan& lan, netstack::Log& log) {
  if (!guest.ours) return nullptr;
  auto gateway = std::make_unique<netstack::Gateway>(lan.loop(), guest.gateway, log);
  guest.running = gateway.get();
  lan.add(std::move(gateway));
  if (guest.transport == Transport::kVhostUser) {
    return std::make_unique<GuestDoor>(lan, log, std::move(guest.ours), private_fast_path());
  }
  lan.add_stream(std::move(guest.ours), "guest");
  return nullptr;
}

}  // namespace tools
