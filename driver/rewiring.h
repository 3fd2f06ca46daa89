#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "driver/command_line.h"
#include "driver/guest_memory.h"
#include "driver/machine.h"
#include "driver/network_options.h"
#include "driver/qemu_features.h"
#include "driver/transport.h"
#include "driver/transport_choice.h"

namespace driver {

// What the command meets; functions, so that nothing is asked that nobody needs.
struct Surroundings {
  std::function<QemuFeatures()> qemu;                 // called at most once
  std::function<bool()> kvm_works;                    // called at most once
  std::function<LanSockets(const std::string&)> lan;  // of a directory
  std::function<Attachment(const std::string&, Transport, const QemuFeatures&)> plug;

  // The real ones, for the QEMU at `program`. `give_up_fd` as ask_qemu() takes it.
  static Surroundings of_this_host(const std::string& program, int give_up_fd = kNoFd);
};

// A QEMU command on its way to another network: choose() and replug() networks, or add_card(), and
// take the words. Nothing is changed that was not replugged.
class Rewiring {
 public:
  Rewiring(std::vector<std::string> words, Surroundings surroundings);

  const std::vector<Network>& networks() const { return networks_; }
  bool has_network(Network::Kind kind) const;
  const QemuFeatures& qemu();

  // How this network, or a card that is added, would be plugged into a LAN with these sockets.
  TransportChoice choose(const Network& network, const LanSockets& lan,
                         std::optional<Transport> forced = std::nullopt);
  TransportChoice choose_for_card(const LanSockets& lan,
                                  std::optional<Transport> forced = std::nullopt);
  // Why this network must be left alone; empty: it can be replugged. Changes as others are.
  std::string refusal(const Network& network) const;

  // Keeps id, model and MAC. Not for a network with a refusal.
  void replug(const Network& network, Attachment attachment);
  // A virtio-net card at the end, with that MAC.
  void add_card(Attachment attachment, const std::string& mac);

  // Moves the VDE networks to the fastest transport of their LANs, where that is faster than VDE.
  // One line for each that stays, and why.
  std::vector<std::string> replug_vde_networks(std::optional<Transport> forced = std::nullopt);

  std::vector<std::string> argv() const { return command_.edited(); }
  std::vector<netstack::Fd> take_inherited() { return std::move(inherited_); }

 private:
  const Machine& machine();
  const GuestMemory& memory();
  std::string card_obstacle(const Network& network);
  bool needs_zero_vectors(const std::string& model);
  TransportFacts facts(const LanSockets& lan);
  void share_memory();
  std::vector<std::string> backend_words(Attachment attachment, const std::string& id);
  std::string replug_vde_network(const Network& network, std::optional<Transport> forced);
  OptionList fitted_card(const Network& network, Transport transport);
  void replug_onboard_card(const Network& network, std::vector<std::string> words,
                           Transport transport, const std::string& id);
  void replug_hub(const Network& network, std::vector<std::string> words, Transport transport,
                  const std::string& id);

  CommandLine command_;
  Surroundings surroundings_;
  std::vector<Network> networks_;
  std::optional<QemuFeatures> qemu_;
  std::optional<Machine> machine_;
  std::optional<GuestMemory> memory_;
  bool memory_is_shared_ = false;
  std::vector<size_t> gone_;  // the words of -nic options that have become -net nic
  std::vector<netstack::Fd> inherited_;
};

}  // namespace driver
