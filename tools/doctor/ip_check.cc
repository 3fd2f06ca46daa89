// An address that changes hands once is a guest that took over from another, which may have ended.
// That two use it shows when it changes back, when it is the gateway's, or when a guest that was
// leased it declines.
#include <fmt/format.h>

#include <algorithm>

#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

constexpr uint64_t kChangesMin_count = 2;

// The guest asked around before it used its lease, and somebody answered.
Finding describe_decline(const LanSight& lan, const GuestSight& guest) {
  const std::string& address = guest.declined.address;
  const auto claim = std::ranges::find_if(lan.claims, [&](const ClaimSight& each) {
    return each.address == address && each.mac != guest.mac;
  });
  Finding finding = problem(
      "ips", "IP addresses",
      fmt::format("{} declined a lease of {} ({} times, the last {:.0f} s ago), because another "
                  "machine has that address{}",
                  lan.guest_name(guest.mac), address, guest.declined.count, guest.declined.ago_s,
                  claim == lan.claims.end() ? "" : ": " + claim->mac),
      "leave the other machine's address to DHCP, or give it one that no lease has");
  finding.cause = netstack::cause_row(netstack::Cause::kDuplicateIp).id;
  finding.address = guest.mac;
  return finding;
}

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
  for (const GuestSight& guest : *lan.guests) {
    if (guest.declined.count == 0 || guest.declined.ago_s > kRecent_s) continue;
    findings.push_back(describe_decline(lan, guest));
  }
  if (!findings.empty()) return findings;
  return {{id, title, fmt::format("{} are known, each claimed by one guest", lan.claims.size())}};
}

}  // namespace tools
