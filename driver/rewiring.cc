#include "driver/rewiring.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "netstack/base/error.h"

namespace driver {

// Theory. The command belongs to the user: it may be QEMU, or a script that hands its arguments to
// QEMU. It is kept word for word and in order. A network that is carried keeps its id and gets
// another back end in the same place, so its cards, their slots and their MACs stay as they are:
//
//   -netdev vde,id=N,…   →  -netdev stream,…,id=N
//   -nic vde,model=M,…   →  -netdev stream,…,id=ID -net nic,netdev=ID,model=M,…
//   -net vde,…           →  -netdev stream,…,id=ID, and the one -net nic gets netdev=ID;
//                           with more on the hub: also -netdev hubport,hubid=0,netdev=ID
//
// -nic cannot name a netdev, -net nic can and makes the same card. But QEMU makes all -nic cards
// before all -net nic ones, so a -nic is only turned where no other card would change its turn; the
// networks are therefore taken from the last to the first.
//
// QEMU adds a card of its own only to a command without network options. There is always one after
// us if there was one before, and a card that is added keeps QEMU's away.
//
// Under TCG, QEMU 7.2 crashes when a vhost-user card uses MSI-X (no interrupt goes through the
// kernel there); vectors=0 gives the card a plain interrupt instead. No later release has been
// tried without it, and beside TCG it costs nothing that was measurable.

using netstack::Error;

namespace {

struct Property {
  std::string_view key;
  std::string_view reason;
};

// Properties of a virtio-net device that a vhost-user back end may not go with.
constexpr std::array kObstacles = {
    Property{"failover", "its card is half of a failover pair"},
    Property{"iommu_platform", "its card is behind an IOMMU"},
    Property{"ats", "its card is behind an IOMMU"},
    Property{"rss", "its card spreads packets by hash"},
    Property{"hash", "its card reports hashes"},
    Property{"guest_rsc_ext", "its card coalesces by itself"},
    Property{"host_mtu", "its card announces an MTU"},
};

constexpr auto kPciModels =
    std::to_array<std::string_view>({"virtio-net-pci", "virtio-net-pci-transitional",
                                     "virtio-net-pci-non-transitional", "virtio-net", "virtio"});
constexpr auto kOtherModels =
    std::to_array<std::string_view>({"virtio-net-device", "virtio-net-ccw"});

bool is_pci_model(std::string_view model) {
  return std::find(kPciModels.begin(), kPciModels.end(), model) != kPciModels.end();
}

bool is_virtio_model(std::string_view model) {
  return is_pci_model(model) ||
         std::find(kOtherModels.begin(), kOtherModels.end(), model) != kOtherModels.end();
}

std::string model_of(const Network& network) {
  return network.card_list.get(network.plug == Network::Plug::kDevice ? "driver" : "model");
}

// An onboard card, by -nic or -net nic.
bool makes_card(const CommandLine& command, const CommandLine::Option& option) {
  if (!option.has_value || (option.name != "nic" && option.name != "net")) return false;
  const std::string type = OptionList::parse(command.value(option), "type").get("type");
  return option.name == "nic" ? type != "none" : type == "nic";
}

}  // namespace

Surroundings Surroundings::of_this_host(const std::string& program, int give_up_fd) {
  return {[program, give_up_fd] { return ask_qemu(program, give_up_fd); },
          [] { return driver::kvm_works(); }, lan_sockets, plug_into_lan};
}

Rewiring::Rewiring(std::vector<std::string> words, Surroundings surroundings)
    : command_(std::move(words)),
      surroundings_(std::move(surroundings)),
      networks_(networks_of(command_)) {}

bool Rewiring::has_network(Network::Kind kind) const {
  return std::any_of(networks_.begin(), networks_.end(),
                     [&](const Network& network) { return network.kind == kind; });
}

const QemuFeatures& Rewiring::qemu() {
  if (!qemu_) qemu_ = surroundings_.qemu();
  return *qemu_;
}

const Machine& Rewiring::machine() {
  if (!machine_) machine_ = Machine::of(command_, surroundings_.kvm_works);
  return *machine_;
}

const GuestMemory& Rewiring::memory() {
  if (!memory_) memory_ = GuestMemory::of(command_, machine());
  return *memory_;
}

bool Rewiring::needs_zero_vectors(const std::string& model) {
  return is_pci_model(model) && !machine().irqfd;
}

std::string Rewiring::card_obstacle(const Network& network) {
  if (network.plug == Network::Plug::kHub) return "its card is on a hub";
  if (network.plug == Network::Plug::kOther) return "it is not plugged into exactly one card";
  const std::string model = model_of(network);
  if (model.empty()) return "its card is of the machine's own model";
  if (!is_virtio_model(model)) return fmt::format("its card is no virtio one but {}", model);
  for (const Property& property : kObstacles) {
    const std::string* value = network.card_list.find(property.key);
    if (value != nullptr && *value != "off") return std::string(property.reason);
  }
  const std::string* vectors = network.card_list.find("vectors");
  if (vectors != nullptr && *vectors != "0" && needs_zero_vectors(model)) {
    return fmt::format("its card wants vectors={}, which needs KVM", *vectors);
  }
  return {};
}

TransportFacts Rewiring::facts(const LanSockets& lan) {
  TransportFacts facts;
  facts.lan = lan;
  // Asking starts a process, which is not worth it where there is nothing to choose.
  if (lan.vhost_user || lan.vde) facts.qemu = qemu();
  if (lan.vhost_user) {
    facts.memory = memory().state;
    facts.why_private = memory().why_private;
  }
  return facts;
}

TransportChoice Rewiring::choose(const Network& network, const LanSockets& lan,
                                 std::optional<Transport> forced) {
  TransportFacts known = facts(lan);
  known.card_obstacle = card_obstacle(network);
  return choose_transport(known, forced);
}

TransportChoice Rewiring::choose_for_card(const LanSockets& lan, std::optional<Transport> forced) {
  return choose_transport(facts(lan), forced);
}

std::string Rewiring::refusal(const Network& network) const {
  if (!network.refusal.empty() || network.form != Network::Form::kNic) return network.refusal;
  for (const CommandLine::Option& option : command_.options()) {
    if (!makes_card(command_, option) || option.at == network.option.at) continue;
    const bool gone = std::find(gone_.begin(), gone_.end(), option.at) != gone_.end();
    const bool before = option.at < network.option.at;
    if (option.name == "net" ? before : !before && !gone) {
      return "another card would change its place; write it as -netdev and -device";
    }
  }
  return {};
}

void Rewiring::share_memory() {
  if (memory_is_shared_) return;
  memory_is_shared_ = true;
  for (const auto& [option, value] : memory().completed) command_.set_value(option, value);
  if (memory().object_size == 0) return;
  const std::string id = command_.unused_id();
  command_.append(
      {"-object",
       fmt::format("memory-backend-memfd,id={},size={},share=on", id, memory().object_size),
       "-machine", fmt::format("memory-backend={}", id)});
}

std::vector<std::string> Rewiring::backend_words(Attachment attachment, const std::string& id) {
  for (netstack::Fd& fd : attachment.inherited) inherited_.push_back(std::move(fd));
  if (attachment.chardev.empty()) {
    return {"-netdev", fmt::format("{},id={}", attachment.netdev, id)};
  }
  const std::string chardev = command_.unused_id();
  if (attachment.transport == Transport::kVhostUser) share_memory();
  return {"-chardev", fmt::format("{},id={}", attachment.chardev, chardev), "-netdev",
          fmt::format("{},chardev={},id={}", attachment.netdev, chardev, id)};
}

// Its card's options, as this transport needs them.
OptionList Rewiring::fitted_card(const Network& network, Transport transport) {
  OptionList card = network.card_list;
  if (transport != Transport::kVhostUser) return card;
  const std::string model = model_of(network);
  // QEMU wants the whole name before it lets vhost-user in.
  if (network.plug == Network::Plug::kDevice && model == "virtio-net") {
    card.set("driver", machine().virtio_net_alias());
  }
  if (needs_zero_vectors(model) && !card.has("vectors")) card.set("vectors", "0");
  return card;
}

// -nic: the card keeps model and MAC, in -net nic's words.
void Rewiring::replug_onboard_card(const Network& network, std::vector<std::string> words,
                                   Transport transport, const std::string& id) {
  const OptionList fitted = fitted_card(network, transport);
  OptionList card = OptionList::parse("nic,netdev=" + id, "type");
  if (fitted.has("model")) card.set("model", fitted.get("model"));
  if (fitted.has("mac")) card.set("macaddr", fitted.get("mac"));
  if (fitted.has("vectors")) card.set("vectors", fitted.get("vectors"));
  words.insert(words.end(), {"-net", card.text()});
  command_.replace(network.option, std::move(words));
  gone_.push_back(network.option.at);
}

// -net: the one card leaves the hub, or the back end joins it.
void Rewiring::replug_hub(const Network& network, std::vector<std::string> words,
                          Transport transport, const std::string& id) {
  if (network.plug == Network::Plug::kNetNic) {
    OptionList card = fitted_card(network, transport);
    card.set("netdev", id);
    command_.set_value(network.card, card.text());
  } else {
    words.insert(words.end(), {"-netdev", fmt::format("hubport,id={},hubid=0,netdev={}",
                                                      command_.unused_id(), id)});
  }
  command_.replace(network.option, std::move(words));
}

void Rewiring::replug(const Network& network, Attachment attachment) {
  const Transport transport = attachment.transport;
  const std::string id = network.id.empty() ? command_.unused_id() : network.id;
  std::vector<std::string> words = backend_words(std::move(attachment), id);
  if (network.form == Network::Form::kNic) {
    replug_onboard_card(network, std::move(words), transport, id);
  } else if (network.form == Network::Form::kNet) {
    replug_hub(network, std::move(words), transport, id);
  } else {
    command_.replace(network.option, std::move(words));
    if (transport == Transport::kVhostUser) {
      command_.set_value(network.card, fitted_card(network, transport).text());
    }
  }
}

void Rewiring::add_card(Attachment attachment, const std::string& mac) {
  const std::string id = command_.unused_id();
  const std::string model = machine().card_model();
  const bool zero = attachment.transport == Transport::kVhostUser && needs_zero_vectors(model);
  command_.append(backend_words(std::move(attachment), id));
  command_.append(
      {"-device", fmt::format("{},netdev={},mac={}{}", model, id, mac, zero ? ",vectors=0" : "")});
}

// Empty: it has moved.
std::string Rewiring::replug_vde_network(const Network& network, std::optional<Transport> forced) {
  if (std::string why = refusal(network); !why.empty()) return why;
  const std::string directory = network.list.get("sock");
  if (directory.empty()) return "it names no socket directory";
  if (directory.find("://") != directory.npos || directory.ends_with(']')) {
    return fmt::format("{} is more than a directory", directory);
  }
  const std::string port = network.list.get("port");
  if (!port.empty() && port != "0") {
    return fmt::format("it wants port {}, and only VDE's own protocol can say so", port);
  }
  const LanSockets lan = surroundings_.lan(directory);
  if (!lan.vhost_user && !lan.stream) {
    return fmt::format("{} has no socket that is faster", directory);
  }
  const TransportChoice choice = choose(network, lan, forced);
  if (choice.transport.value_or(Transport::kVde) == Transport::kVde) return choice.passed_over;
  try {
    replug(network, surroundings_.plug(directory, *choice.transport, qemu()));
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

std::vector<std::string> Rewiring::replug_vde_networks(std::optional<Transport> forced) {
  std::vector<std::string> notes;
  for (auto network = networks_.rbegin(); network != networks_.rend(); ++network) {
    if (network->kind != Network::Kind::kVde) continue;
    if (forced == Transport::kVde) continue;
    const std::string why = replug_vde_network(*network, forced);
    if (!why.empty()) notes.push_back(fmt::format("{}: left as it is: {}", network->name(), why));
  }
  std::reverse(notes.begin(), notes.end());
  return notes;
}

}  // namespace driver
