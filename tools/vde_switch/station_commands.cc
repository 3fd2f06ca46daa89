// The forwarding table, and the spanning tree that is not there.
//
// VDE's dials that mean nothing to this table are kept and shown, for the scripts that set them:
// the hash size (the table has a limit of its own) and the garbage collector's interval (nothing is
// collected: a station that is too old is unknown at once). The minimum persistence is refused
// unless it is 0: here a station that moves is always believed at once, and a script that relies on
// the contrary should hear of it.
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "tools/vde_switch/command.h"

namespace tools {

using netstack::Mac;
using vlan::Fdb;
using vlan::Station;

namespace {

constexpr int kVid_count = 4096;

Fdb& table(const Call& call) {
  return call.state.lan.fabric().fdb();
}

uint64_t now_ns(const Call& call) {
  return call.state.lan.loop().clock().monotonic_ns();
}

std::string line_of(const Station& station) {
  return fmt::format("Hash: {:04} Addr: {} VLAN {:04} to port: {:03}  age {} secs\n",
                     station.bucket, netstack::to_string(station.mac), station.vid, station.port,
                     station.age_ns / netstack::kSecond_ns);
}

Answer show(const Call& call) {
  Fdb& fdb = table(call);
  return {0, fmt::format("Hash size {}\nGC interval {} secs\nGC expire {} secs\n"
                         "Min persistence 0 secs\n",
                         fdb.hash_size(), fdb.dials().gc_interval_s,
                         fdb.config().aging_ns / netstack::kSecond_ns)};
}

Answer set_size(const Call& call) {
  const int size = first_int(call.argument);
  if (size <= 0) return {EINVAL};
  table(call).set_hash_size(static_cast<uint32_t>(size));
  return {};
}

Answer set_gc_interval(const Call& call) {
  const int seconds = first_int(call.argument);
  if (seconds < 0) return {EINVAL};
  table(call).dials().gc_interval_s = static_cast<uint32_t>(seconds);
  return {};
}

Answer set_expire(const Call& call) {
  const int seconds = first_int(call.argument);
  if (seconds < 0) return {EINVAL};
  table(call).set_aging(static_cast<uint64_t>(seconds) * netstack::kSecond_ns);
  return {};
}

Answer set_persistence(const Call& call) {
  const int seconds = first_int(call.argument);
  if (seconds < 0) return {EINVAL};
  return {seconds == 0 ? 0 : ENOSYS};
}

Answer print(const Call& call) {
  std::string text;
  table(call).for_each(now_ns(call), [&](const Station& one) { text += line_of(one); });
  return {0, text};
}

// "02:00:00:00:00:0a 7" or "2.0.0.0.0.a 7": the VLAN may be left out.
bool read_station(std::string_view text, Mac& mac, int& vid) {
  const std::string whole(text);
  std::array<unsigned, 6> octets{};
  const auto scan = [&](const char* form) {
    vid = 0;
    return std::sscanf(whole.c_str(), form, &octets[0], &octets[1], &octets[2], &octets[3],
                       &octets[4], &octets[5], &vid);
  };
  int count = scan("%x:%x:%x:%x:%x:%x %i");
  if (count < 6) count = scan("%x.%x.%x.%x.%x.%x %i");
  for (size_t i = 0; i < octets.size(); ++i) {
    if (octets[i] > 0xff) return false;
    mac.octets[i] = static_cast<uint8_t>(octets[i]);
  }
  return count >= 6 && vid >= 0 && vid < kVid_count;
}

Answer find(const Call& call) {
  Mac mac;
  int vid = 0;
  if (!read_station(call.argument, mac, vid)) return {EINVAL};
  const auto station = table(call).find_station(mac, static_cast<uint16_t>(vid), now_ns(call));
  if (!station) return {ENODEV};
  return {0, line_of(*station)};
}

// --- fstp -------------------------------------------------------------------------------------

constexpr const char* kNoTree =
    "There is no spanning tree here; the switch's storm guard limits what loops can do\n";

Answer show_tree(const Call& call) {
  const int priority = call.state.options.priority;
  return {0, fmt::format("MAC {} Priority {} (0x{:x})\nFSTP=false\n",
                         netstack::to_string(call.state.options.mac), priority, priority)};
}

Answer set_tree(const Call& call) {
  if (first_int(call.argument) == 0) return {};
  if (call.state.lan.fabric().hub()) return {0, "Can't use fstp in hub mode\n"};
  return {ENOSYS, kNoTree};
}

Answer refuse_tree_detail(const Call&) {
  return {ENOSYS};
}

Answer print_tree(const Call& call) {
  const vlan::Vlans& vlans = call.state.lan.fabric().vlans();
  const auto line = [](int vid) {
    return fmt::format("FST DATA VLAN {:04} ROOTSWITCH FSTP IS DISABLED\n", vid);
  };
  if (!call.argument.empty()) {
    const int vid = first_int(call.argument);
    if (vid < 0 || vid >= kVid_count) return {EINVAL};
    return vlans.exists(vid) ? Answer{0, line(vid)} : Answer{ENXIO};
  }
  std::string text;
  vlans.for_each([&](int vid) { text += line(vid); });
  return {0, text};
}

constexpr std::array kStationCommands = {
    Command{"hash", "============", "FORWARDING TABLE", false, nullptr},
    Command{"hash/showinfo", "", "the table's settings", true, show},
    Command{"hash/setsize", "N", "forget all stations; N is shown", false, set_size},
    Command{"hash/setgcint", "N", "accepted and shown; ageing is exact", false, set_gc_interval},
    Command{"hash/setexpire", "N", "forget stations that are silent for N seconds", false,
            set_expire},
    Command{"hash/setminper", "N", "only 0: a station moves at once", false, set_persistence},
    Command{"hash/print", "", "all stations", true, print},
    Command{"hash/find", "MAC [VLAN]", "where a station is", true, find},
};

constexpr std::array kTreeCommands = {
    Command{"fstp", "============", "SPANNING TREE (NOT IMPLEMENTED)", false, nullptr},
    Command{"fstp/showinfo", "", "the bridge's address and priority", true, show_tree},
    Command{"fstp/setfstp", "0/1", "only 0", true, set_tree},
    Command{"fstp/setedge", "VLAN PORT 1/0", "not implemented", false, refuse_tree_detail},
    Command{"fstp/bonus", "VLAN PORT COST", "not implemented", false, refuse_tree_detail},
    Command{"fstp/print", "[N]", "the tree's state in VLAN N", true, print_tree},
};

}  // namespace

std::span<const Command> station_commands() {
  return kStationCommands;
}

std::span<const Command> tree_commands() {
  return kTreeCommands;
}

}  // namespace tools
