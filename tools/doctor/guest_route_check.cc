#include <fmt/format.h>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

Findings check_guest_routes(const LanSight& lan) {
  const char* id = "guest-routes";
  const char* title = "guests' routes";
  if (!lan.guests) return {{id, title, "not looked for: this LAN has no gateway"}};
  Findings findings;
  for (const GuestSight& guest : *lan.guests) {
    const SignSight& sign = guest.off_subnet;
    if (sign.count == 0 || sign.ago_s > kRecent_s) continue;
    findings.push_back(problem(
        id, title,
        fmt::format("{} looks for {} on the LAN itself ({}, the last {:.0f} s ago): "
                    "it has no route by the gateway",
                    lan.guest_name(guest.mac), sign.address,
                    netstack::counted(sign.count, "ARP request"), sign.ago_s),
        fmt::format("in the guest: ip route replace default via {}", lan.gateway->address)));
    findings.back().cause = netstack::cause_row(netstack::Cause::kNoGuestRoute).id;
    findings.back().address = guest.mac;
  }
  if (!findings.empty()) return findings;
  return {{id, title, "nobody looks on the LAN for what is beyond it"}};
}

}  // namespace tools
