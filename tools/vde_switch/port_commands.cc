// Ports by number: who may use them, who does, and what passed.
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>

#include "netstack/base/number.h"
#include "tools/vde_switch/command.h"

namespace tools {

using netstack::DropReason;
using netstack::PortCounters;
using netstack::PortId;

namespace {

PortTable& table(const Call& call) {
  return call.state.lan.ports();
}

int number_max(const Call& call) {
  return static_cast<int>(call.state.lan.fabric().fdb().config().port_count_max);
}

// The port an argument names. Null: `refusal` says why.
NumberedPort* port_at(const Call& call, int number, int& refusal) {
  refusal = number < 0 || number > number_max(call) ? EINVAL : ENXIO;
  return refusal == EINVAL ? nullptr : table(call).find(static_cast<PortId>(number));
}

// What was asked for, or as many as there are.
int shown_port_count(const Call& call) {
  const auto& ports = table(call).ports();
  const int needed = ports.empty() ? 0 : static_cast<int>(ports.rbegin()->first) + 1;
  return std::max(call.state.options.port_count, needed);
}

Answer show(const Call& call) {
  return {0, fmt::format("Numports={}\nHUB={}\ncounters=true\n", shown_port_count(call),
                         call.state.lan.fabric().hub())};
}

Answer set_port_count(const Call& call) {
  const int count = first_int(call.argument);
  if (count <= 0) return {EINVAL};
  const auto& ports = table(call).ports();
  if (!ports.empty() && ports.rbegin()->first >= static_cast<PortId>(count)) return {EADDRINUSE};
  call.state.options.port_count = count;
  return {};
}

Answer set_hub(const Call& call) {
  call.state.lan.fabric().set_hub(first_int(call.argument) != 0);
  return {};
}

Answer set_vlan(const Call& call) {
  std::array<int, 2> values{};
  if (read_ints(call.argument, values) != values.size() || values[0] < 0) return {EINVAL};
  vlan::Vlans& vlans = call.state.lan.fabric().vlans();
  return {vlans.set_pvid(static_cast<PortId>(values[0]), values[1])};
}

Answer create_lowest(const Call& call) {
  PortId number = 0;
  const int refusal = table(call).create_lowest(number, false);
  if (refusal != 0) return {refusal};
  return {0, fmt::format("Port {:04}\n", number)};
}

Answer create(const Call& call) {
  const int number = first_int(call.argument);
  return {number < 0 ? EINVAL : table(call).create(static_cast<PortId>(number), false)};
}

Answer remove(const Call& call) {
  const int number = first_int(call.argument);
  int refusal = 0;
  if (port_at(call, number, refusal) == nullptr) return {refusal};
  return {table(call).remove(static_cast<PortId>(number))};
}

Answer set_allocatable(const Call& call) {
  std::array<int, 2> values{};
  if (read_ints(call.argument, values) != values.size()) return {EINVAL};
  int refusal = 0;
  NumberedPort* port = port_at(call, values[0], refusal);
  if (port == nullptr) return {refusal};
  port->allocatable = values[1] != 0;
  return {};
}

// --- rights -----------------------------------------------------------------------------------

struct PortAndName {
  NumberedPort* port = nullptr;
  std::string name;
  int refusal = EINVAL;
};

PortAndName port_and_name(const Call& call) {
  PortAndName out;
  std::array<int, 1> number{};
  const size_t blank = call.argument.find_first_of(" \t");
  if (blank == std::string_view::npos || read_ints(call.argument, number) != 1) return out;
  out.name = without_blanks(call.argument.substr(blank));
  out.port = port_at(call, number[0], out.refusal);
  return out;
}

bool means_everybody(const std::string& name) {
  return name == "NONE" || name == "ANY";
}

Answer set_user(const Call& call) {
  const PortAndName wanted = port_and_name(call);
  if (wanted.port == nullptr) return {wanted.refusal};
  if (means_everybody(wanted.name)) {
    wanted.port->user.reset();
  } else if (const auto number = netstack::parse_number<uid_t>(wanted.name)) {
    wanted.port->user = *number;
  } else if (const passwd* entry = ::getpwnam(wanted.name.c_str())) {
    wanted.port->user = entry->pw_uid;
  } else {
    return {EINVAL};
  }
  return {};
}

Answer set_group(const Call& call) {
  const PortAndName wanted = port_and_name(call);
  if (wanted.port == nullptr) return {wanted.refusal};
  if (means_everybody(wanted.name)) {
    wanted.port->group.reset();
  } else if (const auto number = netstack::parse_number<gid_t>(wanted.name)) {
    wanted.port->group = *number;
  } else if (const ::group* entry = ::getgrnam(wanted.name.c_str())) {
    wanted.port->group = entry->gr_gid;
  } else {
    return {EINVAL};
  }
  return {};
}

std::string user_name(const std::optional<uid_t>& user) {
  if (!user) return "NONE";
  const passwd* entry = ::getpwuid(*user);
  return entry != nullptr ? entry->pw_name : fmt::format("{}", *user);
}

std::string group_name(const std::optional<gid_t>& group) {
  if (!group) return "NONE";
  const ::group* entry = ::getgrgid(*group);
  return entry != nullptr ? entry->gr_name : fmt::format("{}", *group);
}

// --- endpoints and counters -------------------------------------------------------------------

// The id is decimal, as it is printed: with zeros in front, which in C's notation mean octal.
Answer close_endpoint(const Call& call) {
  const PortAndName wanted = port_and_name(call);
  if (wanted.name.empty() || std::isdigit(static_cast<unsigned char>(wanted.name[0])) == 0)
    return {EINVAL};
  NumberedPort* port = wanted.port;
  if (port == nullptr) return {wanted.refusal};
  const auto at = std::ranges::find(port->endpoints, first_int(wanted.name), &Endpoint::id);
  if (at == port->endpoints.end()) return {ENXIO};
  call.state.lan.remove(*at->port, "");
  return {};
}

Answer reset_counters(const Call& call) {
  if (call.argument.empty()) {
    for (const auto& [number, port] : table(call).ports()) port->shared.reset_totals();
    return {};
  }
  int refusal = 0;
  NumberedPort* port = port_at(call, first_int(call.argument), refusal);
  if (port == nullptr) return {refusal};
  port->shared.reset_totals();
  return {};
}

std::string describe_counters(const PortCounters& counters) {
  constexpr const char* kLine = " {:<4} pkts {:>10}          bytes {:>20}\n";
  std::string text =
      fmt::format(fmt::runtime(kLine), "IN:", counters.ingress_frames, counters.ingress_bytes) +
      fmt::format(fmt::runtime(kLine), "OUT:", counters.egress_frames, counters.egress_bytes);
  for (size_t at = 0; at < netstack::kDropReasonCount; ++at) {
    const auto reason = static_cast<DropReason>(at);
    if (counters.dropped(reason) == 0) continue;
    text += fmt::format(" DROP: pkts {:>9}          {}: {}\n", counters.dropped(reason),
                        netstack::drop_reason_name(reason), netstack::drop_reason_sentence(reason));
  }
  return text;
}

// "untagged_vlan=", " ACTIVE", "Current User:" and "-- endpoint ID" are what clients look for.
std::string describe(const Call& call, const NumberedPort& port) {
  std::string text = fmt::format(
      "Port {:04} untagged_vlan={:04} {} - {}Unnamed Allocatable\n"
      " Current User: {} Access Control: (User: {} - Group: {})\n{}",
      port.number, call.state.lan.fabric().vlans().pvid(port.number),
      port.active() ? "ACTIVE" : "INACTIVE", port.allocatable ? "" : "NOT ",
      user_name(port.current_user), user_name(port.user), group_name(port.group),
      describe_counters(port.shared.totals()));
  for (const Endpoint& endpoint : port.endpoints) {
    text += fmt::format(
        "  -- endpoint ID {:04} module {:<12}: {}\n", endpoint.id, endpoint.module,
        endpoint.description.empty() ? "no endpoint description" : endpoint.description);
  }
  return text;
}

Answer print_some(const Call& call, bool inactive_too) {
  if (!call.argument.empty()) {
    int refusal = 0;
    const NumberedPort* port = port_at(call, first_int(call.argument), refusal);
    if (port == nullptr) return {refusal};
    if (!port->active() && !inactive_too) return {ENXIO};
    return {0, describe(call, *port)};
  }
  std::string text;
  for (const auto& [number, port] : table(call).ports()) {
    if (port->active() || inactive_too) text += describe(call, *port);
  }
  return {0, text};
}

Answer print(const Call& call) {
  return print_some(call, false);
}

Answer print_all(const Call& call) {
  return print_some(call, true);
}

constexpr std::array kCommands = {
    Command{"port", "============", "PORTS", false, nullptr},
    Command{"port/showinfo", "", "the ports' settings", true, show},
    Command{"port/setnumports", "N", "accepted and shown; ports are not limited by it", false,
            set_port_count},
    Command{"port/sethub", "0/1", "1: every frame to every port", false, set_hub},
    Command{"port/setvlan", "N VLAN", "VLAN of port N's untagged frames; 4095: none", false,
            set_vlan},
    Command{"port/createauto", "", "make the lowest free port; unnamed plugs do not get it", true,
            create_lowest},
    Command{"port/create", "N", "make port N; unnamed plugs do not get it", false, create},
    Command{"port/remove", "N", "remove port N, which is inactive", false, remove},
    Command{"port/allocatable", "N 0/1", "1: unnamed plugs may get port N", false, set_allocatable},
    Command{"port/setuser", "N user", "reserve port N for a user; NONE: for nobody", false,
            set_user},
    Command{"port/setgroup", "N group", "reserve port N for a group; NONE: for nobody", false,
            set_group},
    Command{"port/epclose", "N ID", "unplug endpoint ID of port N", false, close_endpoint},
    Command{"port/resetcounter", "[N]", "count from 0 again", false, reset_counters},
    Command{"port/print", "[N]", "active ports and their endpoints", true, print},
    Command{"port/allprint", "[N]", "all ports and their endpoints", true, print_all},
};

}  // namespace

std::span<const Command> port_commands() {
  return kCommands;
}

}  // namespace tools
