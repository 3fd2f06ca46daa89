#include "driver/network_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace driver {

// Theory. A network is carried by giving its id another back end, so that everything that names the
// id (cards, filters, hubs, a monitor later) stays as it is. Only who is plugged must be known: a
// vhost-user back end works with one virtio card and nothing between. What cannot be told counts as
// kOther, for which only back ends are taken that go with everything.

namespace {

using Form = Network::Form;
using Kind = Network::Kind;
using Plug = Network::Plug;
using Option = CommandLine::Option;

std::optional<Kind> kind_named(const std::string& type) {
  if (type == "user") return Kind::kUser;
  if (type == "vde") return Kind::kVde;
  return std::nullopt;
}

struct Reference {
  Option option;
  OptionList list;
};

std::string_view implied_key(std::string_view option) {
  if (option == "device") return "driver";
  return option == "object" ? "qom-type" : "type";
}

// Who names this network. False: a part in JSON does, or may.
bool references_to(const std::string& id, const CommandLine& command,
                   std::vector<Reference>& found) {
  for (const Option& option : command.options()) {
    if (!option.has_value) continue;
    const std::string& value = command.value(option);
    if (is_json(value)) {
      if (value.find(fmt::format("\"{}\"", id)) != value.npos) return false;
      continue;
    }
    OptionList list = OptionList::parse(value, implied_key(option.name));
    if (list.get("netdev") == id) found.push_back({option, std::move(list)});
  }
  return true;
}

void find_card_of_netdev(const CommandLine& command, Network& network) {
  std::vector<Reference> found;
  if (!references_to(network.id, command, found) || found.size() != 1) return;
  const Reference& only = found[0];
  const bool net_nic = only.option.name == "net" && only.list.get("type") == "nic";
  if (only.option.name != "device" && !net_nic) return;
  network.plug = net_nic ? Plug::kNetNic : Plug::kDevice;
  network.card = only.option;
  network.card_list = only.list;
}

// Hub 0 joins every -net that names no netdev.
void find_cards_on_hub(const CommandLine& command, Network& network) {
  std::vector<Reference> cards;
  size_t ends_count = 0;
  for (const Option& option : command.named("net")) {
    OptionList list = OptionList::parse(command.value(option), "type");
    if (list.get("type") == "none" || list.has("netdev")) continue;
    if (list.get("type") == "nic") {
      cards.push_back({option, std::move(list)});
    } else {
      ++ends_count;
    }
  }
  for (const Option& option : command.named("netdev")) {
    const std::string& value = command.value(option);
    if (is_json(value) || OptionList::parse(value, "type").get("type") == "hubport") ++ends_count;
  }
  if (cards.empty()) {
    network.refusal = "no -net nic is there to join it";
    return;
  }
  network.plug = cards.size() == 1 && ends_count == 1 ? Plug::kNetNic : Plug::kHub;
  network.card = cards[0].option;
  network.card_list = cards[0].list;
}

Network json_network(const Option& option, Kind kind) {
  Network network;
  network.kind = kind;
  network.option = option;
  network.refusal = "it is in JSON form; write it as KEY=VALUE to have it carried";
  return network;
}

std::optional<Network> network_of(const CommandLine& command, const Option& option) {
  const std::string& value = command.value(option);
  if (is_json(value)) {
    if (option.name != "netdev") return std::nullopt;
    if (value.find("\"user\"") != value.npos) return json_network(option, Kind::kUser);
    if (value.find("\"vde\"") != value.npos) return json_network(option, Kind::kVde);
    return std::nullopt;
  }
  OptionList list = OptionList::parse(value, "type");
  if (option.name == "nic" && !list.has("type")) list.set("type", "user");  // as QEMU fills it in
  const std::optional<Kind> kind = kind_named(list.get("type"));
  if (!kind) return std::nullopt;
  Network network;
  network.kind = *kind;
  network.option = option;
  network.list = list;
  network.id = list.get("id");
  if (option.name == "nic") {
    network.form = Form::kNic;
    network.plug = Plug::kNic;
    network.card_list = list;
  } else if (option.name == "net") {
    network.form = Form::kNet;
    find_cards_on_hub(command, network);
  } else if (network.id.empty()) {
    network.refusal = "it has no id=";
  } else {
    find_card_of_netdev(command, network);
  }
  return network;
}

}  // namespace

std::string Network::name() const {
  const char* word = form == Form::kNetdev ? "-netdev" : form == Form::kNic ? "-nic" : "-net";
  const char* type = kind == Kind::kUser ? "user" : "vde";
  return id.empty() ? fmt::format("{} {}", word, type) : fmt::format("{} {},id={}", word, type, id);
}

std::vector<Network> networks_of(const CommandLine& command) {
  std::vector<Network> networks;
  for (const Option& option : command.options()) {
    if (!option.has_value) continue;
    if (option.name != "netdev" && option.name != "nic" && option.name != "net") continue;
    if (auto network = network_of(command, option)) networks.push_back(std::move(*network));
  }
  return networks;
}

}  // namespace driver
