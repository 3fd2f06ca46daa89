#include <fmt/format.h>

#include <algorithm>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

const LeaseSight* lease_of(const LanSight& lan, const std::string& mac) {
  const auto at = std::ranges::find(*lan.leases, mac, &LeaseSight::mac);
  return at == lan.leases->end() ? nullptr : &*at;
}

const GuestSight* guest_of(const LanSight& lan, const std::string& mac) {
  const auto at = std::ranges::find(*lan.guests, mac, &GuestSight::mac);
  return at == lan.guests->end() ? nullptr : &*at;
}

bool has_own_address(const LanSight& lan, const std::string& mac) {
  return std::ranges::any_of(lan.claims, [&](const ClaimSight& claim) {
    return claim.within && (claim.mac == mac || claim.rival == mac);
  });
}

bool speaks_where_the_gateway_is(const LanSight& lan, const GuestPlace& place) {
  const auto vids = lan.gateway_vids();
  return std::ranges::find_first_of(place.vids, vids) != place.vids.end();
}

// What it does instead, and what would help.
Finding describe(const LanSight& lan, const std::string& mac, const GuestPlace& place) {
  const GuestSight* guest = guest_of(lan, mac);
  const LeaseSight* lease = lease_of(lan, mac);
  std::string fact;
  std::string cure;
  if (lease != nullptr && lease->state == "offered") {
    fact = fmt::format("was offered {} and has not taken it", lease->address);
    cure =
        "if that lasts, see what the guest's DHCP client says: the offer may not get through "
        "its firewall";
  } else if (lease != nullptr) {
    fact = fmt::format("let its lease of {} end", lease->address);
    cure = "see whether the guest's DHCP client still runs";
  } else if (guest != nullptr && guest->dhcp.count > 0) {
    fact = fmt::format("asked for a lease {}, last {:.0f} s ago, and has none",
                       netstack::counted(guest->dhcp.count, "time"), guest->dhcp.ago_s);
    cure = "see what the switch says of it on its standard error: the addresses may be used up";
  } else if (guest != nullptr && guest->foreign.count > 0) {
    fact = fmt::format("uses {}, which is not of {}, and never asked for a lease",
                       guest->foreign.address, lan.gateway->network);
    cure = "let the guest use DHCP, or give it an address of that network";
  } else {
    fact = "sends frames and never asked for a lease";
    cure = fmt::format("start a DHCP client in the guest, or give it an address of {}",
                       lan.gateway->network);
  }
  Finding finding =
      problem("leases", "leases", fmt::format("{} on port {} {}", mac, place.port, fact), cure);
  finding.cause = netstack::cause_row(netstack::Cause::kNoLease).id;
  finding.address = mac;
  finding.port = place.port;
  return finding;
}

}  // namespace

Findings check_leases(const LanSight& lan) {
  if (!lan.leases || !lan.guests) {
    return {{"leases", "leases", "not looked for: this LAN has no gateway that tells of leases"}};
  }
  Findings findings;
  size_t leased = 0;
  size_t by_hand = 0;
  for (const auto& [mac, place] : lan.places()) {
    const LeaseSight* lease = lease_of(lan, mac);
    if (lease != nullptr && lease->state == "bound") {
      ++leased;
    } else if (has_own_address(lan, mac)) {
      ++by_hand;
    } else if (speaks_where_the_gateway_is(lan, place)) {
      findings.push_back(describe(lan, mac, place));
    }
  }
  if (!findings.empty()) return findings;
  return {{"leases", "leases",
           fmt::format("{} {} a lease, {} an address by hand", netstack::counted(leased, "guest"),
                       leased == 1 ? "has" : "have", by_hand)}};
}

}  // namespace tools
