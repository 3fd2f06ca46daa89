#include <fmt/format.h>

#include "netstack/base/counted.h"
#include "netstack/base/counters.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

Findings check_mtu(const LanSight& lan) {
  const char* id = "mtu";
  const char* title = "MTU";
  Findings findings;
  const std::string reason(netstack::drop_reason_name(netstack::DropReason::kTooLong));
  for (const PortSight& port : lan.ports) {
    const auto at = port.drops.find(reason);
    if (at == port.drops.end()) continue;
    findings.push_back(warning(id, title,
                               fmt::format("{} longer than {} takes had to be dropped",
                                           netstack::counted(at->second, "frame"), port.name()),
                               "give all guests of the LAN one MTU that each port carries: 9000 "
                               "goes everywhere"));
    findings.back().port = port.number;
  }
  for (const GuestSight& guest : lan.guests.value_or(std::vector<GuestSight>{})) {
    if (guest.oversized.count == 0 || guest.oversized.ago_s > kRecent_s) continue;
    findings.push_back(warning(
        id, title,
        fmt::format("{} sends the gateway frames of {} bytes; the network's MTU is {}",
                    lan.guest_name(guest.mac), guest.oversized.number, lan.gateway->mtu),
        fmt::format("in the guest: ip link set eth0 mtu {}; or tell guests another with --mtu",
                    lan.gateway->mtu)));
    findings.back().address = guest.mac;
  }
  if (!findings.empty()) return findings;
  return {{id, title, "no frame was too long"}};
}

}  // namespace tools
