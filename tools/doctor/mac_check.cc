// One move is a guest that was plugged in elsewhere. To and fro is two guests with one address, or
// a loop, in which every frame comes back at another port.
#include <fmt/format.h>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {
constexpr uint64_t kMovesMin_count = 2;
}  // namespace

Findings check_macs(const LanSight& lan) {
  const char* id = "macs";
  const char* title = "MAC addresses";
  const bool loop = lan.loop && lan.loop->engaged;
  Findings findings;
  for (const StationSight& station : lan.stations) {
    if (loop || station.move_count < kMovesMin_count || station.moved_s > kRecent_s) continue;
    findings.push_back(problem(
        id, title,
        fmt::format("{} speaks from port {} and from port {} by turns ({}, the last {:.0f} s "
                    "ago)",
                    station.mac, station.moved_from, station.port,
                    netstack::counted(station.move_count, "move"), station.moved_s),
        "give each guest a MAC address of its own (-device …,mac=)"));
    findings.back().cause = netstack::cause_row(netstack::Cause::kDuplicateMac).id;
    findings.back().address = station.mac;
    findings.back().port = station.port;
    findings.back().other_port = station.moved_from;
  }
  if (!findings.empty()) return findings;
  return {{id, title,
           loop ? "not looked for: there is a loop, in which every address moves"
           : lan.stations.size() == 1
               ? "1 station stays where it is"
               : fmt::format("{} stations stay where they are", lan.stations.size())}};
}

}  // namespace tools
