// 802.1Q membership. The first of these that changes something ends the switch's transparency;
// printing does not, nor does a command that is refused.
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <map>

#include "tools/vde_switch/command.h"

namespace tools {

using netstack::PortId;

namespace {

vlan::Vlans& vlans(const Call& call) {
  return call.state.lan.fabric().vlans();
}

Answer create(const Call& call) {
  return {vlans(call).create(first_int(call.argument))};
}

Answer remove(const Call& call) {
  return {vlans(call).remove(first_int(call.argument))};
}

using Change = int (vlan::Vlans::*)(int vid, PortId port);

Answer change(const Call& call, Change what) {
  std::array<int, 2> values{};
  if (read_ints(call.argument, values) != values.size() || values[1] < 0) return {EINVAL};
  return {(vlans(call).*what)(values[0], static_cast<PortId>(values[1]))};
}

Answer add_port(const Call& call) {
  return change(call, &vlan::Vlans::add_tagged);
}

Answer remove_port(const Call& call) {
  return change(call, &vlan::Vlans::remove_tagged);
}

std::string describe(const Call& call, int vid, bool inactive_too) {
  std::map<PortId, bool> tagged;
  for (const PortId port : vlans(call).untagged_ports(vid)) tagged[port] = false;
  for (const PortId port : vlans(call).tagged_ports(vid)) tagged[port] = true;
  std::string text = fmt::format("VLAN {:04}\n", vid);
  for (const auto& [number, with_tag] : tagged) {
    const NumberedPort* port = call.state.lan.ports().find(number);
    const bool active = port != nullptr && port->active();
    if (!active && !inactive_too) continue;
    text += fmt::format(" -- Port {:04} tagged={:d} active={:d} status={}\n", number, with_tag,
                        active, active ? "Forwarding" : "Learning");
  }
  return text;
}

Answer print_some(const Call& call, bool inactive_too) {
  if (!call.argument.empty()) {
    const int vid = first_int(call.argument);
    if (vid < (inactive_too ? 1 : 0) || vid > vlan::kVidMax) return {EINVAL};
    return vlans(call).exists(vid) ? Answer{0, describe(call, vid, inactive_too)} : Answer{ENXIO};
  }
  std::string text;
  vlans(call).for_each([&](int vid) { text += describe(call, vid, inactive_too); });
  return {0, text};
}

Answer print(const Call& call) {
  return print_some(call, false);
}

Answer print_all(const Call& call) {
  return print_some(call, true);
}

constexpr std::array kCommands = {
    Command{"vlan", "============", "VLANS", false, nullptr},
    Command{"vlan/create", "N", "make VLAN N", false, create},
    Command{"vlan/remove", "N", "remove VLAN N, which has no ports", false, remove},
    Command{"vlan/addport", "N PORT", "make PORT a tagged member of VLAN N", false, add_port},
    Command{"vlan/delport", "N PORT", "end its tagged membership", false, remove_port},
    Command{"vlan/print", "[N]", "VLANs and their active ports", true, print},
    Command{"vlan/allprint", "[N]", "VLANs and all their ports", true, print_all},
};

}  // namespace

std::span<const Command> vlan_commands() {
  return kCommands;
}

}  // namespace tools
