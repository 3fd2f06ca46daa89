// An address that changes hands once is a guest that took over from another, which may have ended.
// That two use it shows when it changes back, or when it is the gateway's.
#include <fmt/format.h>

#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {
constexpr uint64_t kChangesMin_count = 2;
}  // namespace

Findings check_ips(const LanSight& lan) {
  const char* id = "ips";
  const char* title = "IP addresses";
  if (!lan.guests) return {{id, title, "not looked for: this LAN has no gateway"}};
  Findings findings;
  for (const ClaimSight& claim : lan.claims) {
    const bool is_gateways = claim.address == lan.gateway->address;
    if (claim.change_count < (is_gateways ? 1 : kChangesMin_count)) continue;
    if (claim.changed_s > kRecent_s) continue;
    findings.push_back(problem(
        id, title,
        fmt::format("{} is claimed by {} and by {}{} ({} times it changed hands, the last {:.0f} s "
                    "ago)",
                    claim.address, claim.mac, claim.rival, is_gateways ? ", the gateway" : "",
                    claim.change_count, claim.changed_s),
        is_gateways ? "give the guest another address: this is the gateway's"
                    : "give each guest an address of its own: leave it to DHCP, or see who has it "
                      "by hand"));
    findings.back().cause = netstack::cause_row(netstack::Cause::kDuplicateIp).id;
    findings.back().address = claim.mac;
  }
  if (!findings.empty()) return findings;
  return {{id, title, fmt::format("{} are known, each claimed by one guest", lan.claims.size())}};
}

}  // namespace tools
