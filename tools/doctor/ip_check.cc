// An address that changes hands once is a guest that took over from another, which may have ended:
// a warning if that one is still heard, else only told. That two use it shows when it changes back,
// when it is the gateway's, or when a guest that was leased it declines.
//
// One guest that claims more addresses than the gateway's DHCP leaves to one is told of once, and
// not for each: a router may do so on purpose (proxy ARP), so it is a problem only where one of the
// addresses is somebody else's.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "netstack/base/counted.h"
#include "netstack/names/lease_table.h"
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
  Finding finding =
      problem("ips", "IP addresses",
              fmt::format("{} declined a lease of {} ({}, the last {:.0f} s ago), because another "
                          "machine has that address{}",
                          lan.guest_name(guest.mac), address,
                          netstack::counted(guest.declined.count, "time"), guest.declined.ago_s,
                          claim == lan.claims.end() ? "" : ": " + claim->mac),
              "leave the other machine's address to DHCP, or give it one that no lease has");
  finding.cause = netstack::cause_row(netstack::Cause::kDuplicateIp).id;
  finding.address = guest.mac;
  if (claim != lan.claims.end()) finding.other_address = claim->mac;
  return finding;
}

// Whether who had the address before has said anything since.
bool is_rival_there(const LanSight& lan, const ClaimSight& claim) {
  return std::ranges::any_of(*lan.guests, [&](const GuestSight& guest) {
    return guest.mac == claim.rival && guest.heard_s < claim.changed_s;
  });
}

Finding describe_handover(const ClaimSight& claim) {
  Finding finding =
      warning("ips", "IP addresses",
              fmt::format("{} went from {} to {} {:.0f} s ago, and the first is still there",
                          claim.address, claim.rival, claim.mac, claim.changed_s),
              "see which of the two should have it, if they do not take turns");
  finding.cause = netstack::cause_row(netstack::Cause::kDuplicateIp).id;
  finding.address = claim.mac;
  finding.other_address = claim.rival;
  return finding;
}

// One guest that claims many of the network's addresses.
struct Collector {
  std::vector<const ClaimSight*> claims;
  size_t disputed_count = 0;             // of them, those that another has, too
  const ClaimSight* disputed = nullptr;  // one of those
  std::string other;                     // who has that
};
using Collectors = std::map<std::string, Collector>;

bool is_leased_to(const LanSight& lan, const std::string& address, const std::string& mac) {
  return lan.leases && std::ranges::any_of(*lan.leases, [&](const LeaseSight& lease) {
           return lease.state == "bound" && lease.address == address && lease.mac == mac;
         });
}

// Who has it besides, or had it and has it again: another guest by its lease, or by its claim.
std::string owner_besides(const LanSight& lan, const ClaimSight& claim, const std::string& mac) {
  if (lan.leases) {
    for (const LeaseSight& lease : *lan.leases) {
      const bool live = lease.state == "bound" && lease.address == claim.address;
      if (live && lease.mac != mac) return lease.mac;
    }
  }
  if (claim.mac != mac) return claim.mac;
  return claim.change_count >= kChangesMin_count ? claim.rival : std::string();
}

// The gateway's own address, or its nameserver's.
bool is_gateways(const LanSight& lan, const ClaimSight& claim) {
  return claim.address == lan.gateway->address ||
         (!claim.rival.empty() && claim.rival == lan.gateway->mac);
}

// By MAC. A guest's own lease does not count, nor does what it has not claimed of late.
Collectors collectors_of(const LanSight& lan) {
  Collectors all;
  for (const ClaimSight& claim : lan.claims) {
    if (!claim.within || is_gateways(lan, claim)) continue;
    const bool contested = claim.change_count > 0 && claim.rival_s <= kRecent_s;
    for (const std::string& mac : {claim.mac, contested ? claim.rival : std::string()}) {
      if (mac.empty() || is_leased_to(lan, claim.address, mac)) continue;
      if (mac == claim.mac && claim.heard_s > kRecent_s) continue;
      Collector& collector = all[mac];
      collector.claims.push_back(&claim);
      std::string other = owner_besides(lan, claim, mac);
      if (other.empty()) continue;
      ++collector.disputed_count;
      collector.disputed = &claim;
      collector.other = std::move(other);
    }
  }
  std::erase_if(all, [](const auto& each) {
    return each.second.claims.size() <= size_t{netstack::LeaseTable::kSeenPerGuestMax};
  });
  return all;
}

// "10.0.2.16, 10.0.2.17, 10.0.2.18 and 7 more"
std::string some_addresses(const std::vector<const ClaimSight*>& claims) {
  constexpr size_t kShown_count = 3;
  std::string text;
  for (size_t at = 0; at < std::min(claims.size(), kShown_count); ++at) {
    text += (at == 0 ? "" : ", ") + claims[at]->address;
  }
  return text + fmt::format(" and {} more", claims.size() - kShown_count);
}

Finding describe_collector(const LanSight& lan, const std::string& mac,
                           const Collector& collector) {
  const std::string fact =
      fmt::format("{} claims {} addresses without a lease: {}", lan.guest_name(mac),
                  collector.claims.size(), some_addresses(collector.claims));
  const std::string cure =
      "give that guest one address; if it is to be a router, switch its proxy ARP off (sysctl "
      "net.ipv4.conf.all.proxy_arp=0)";
  if (collector.disputed == nullptr) {
    Finding finding = warning("ips", "IP addresses", fact, cure);
    finding.address = mac;
    return finding;
  }
  Finding finding =
      problem("ips", "IP addresses",
              fmt::format("{}; {} of them {} another's, such as {} of {}", fact,
                          collector.disputed_count, collector.disputed_count == 1 ? "is" : "are",
                          collector.disputed->address, lan.guest_name(collector.other)),
              cure);
  finding.cause = netstack::cause_row(netstack::Cause::kDuplicateIp).id;
  finding.address = mac;
  finding.other_address = collector.other;
  return finding;
}

// "3 are known, each claimed by one guest".
std::string describe_count(size_t count) {
  if (count == 1) return "1 is known, claimed by one guest";
  return fmt::format("{} are known, each claimed by one guest", count);
}

// Of addresses without a finding. It agrees with CHANGED HANDS of `lanyard ctl DIR guests`.
std::string describe_order(const LanSight& lan) {
  const auto changed = [](const ClaimSight& claim) { return claim.change_count > 0; };
  const auto last = std::ranges::max_element(lan.claims, {}, [&](const ClaimSight& claim) {
    return changed(claim) ? -claim.changed_s : -1e300;
  });
  if (last == lan.claims.end() || !changed(*last)) {
    return describe_count(lan.claims.size());
  }
  return fmt::format("{} at a time; {} changed hands, the last {} from {} to {} {:.0f} s ago",
                     describe_count(lan.claims.size()), std::ranges::count_if(lan.claims, changed),
                     last->address, last->rival, last->mac, last->changed_s);
}

}  // namespace

Findings check_ips(const LanSight& lan) {
  const char* id = "ips";
  const char* title = "IP addresses";
  if (!lan.guests) return {{id, title, "not looked for: this LAN has no gateway"}};
  Findings findings;
  const Collectors collectors = collectors_of(lan);
  for (const auto& [mac, collector] : collectors) {
    findings.push_back(describe_collector(lan, mac, collector));
  }
  for (const ClaimSight& claim : lan.claims) {
    const bool of_gateway = is_gateways(lan, claim);
    const bool said = collectors.contains(claim.mac) || collectors.contains(claim.rival);
    if (said && claim.within && !of_gateway) continue;
    if (claim.change_count == 0 || claim.changed_s > kRecent_s) continue;
    if (!of_gateway && claim.change_count < kChangesMin_count) {
      if (is_rival_there(lan, claim)) findings.push_back(describe_handover(claim));
      continue;
    }
    findings.push_back(problem(
        id, title,
        fmt::format("{} is claimed by {} and by {}{} ({} it changed hands, the last {:.0f} s "
                    "ago)",
                    claim.address, claim.mac, claim.rival, of_gateway ? ", the gateway" : "",
                    netstack::counted(claim.change_count, "time"), claim.changed_s),
        of_gateway ? "give the guest another address: this is the gateway's"
                   : "give each guest an address of its own: leave it to DHCP, or see who has it "
                     "by hand"));
    findings.back().cause = netstack::cause_row(netstack::Cause::kDuplicateIp).id;
    findings.back().address = claim.mac;
    findings.back().other_address = claim.rival;
  }
  for (const GuestSight& guest : *lan.guests) {
    if (guest.declined.count == 0 || guest.declined.ago_s > kRecent_s) continue;
    findings.push_back(describe_decline(lan, guest));
  }
  if (!findings.empty()) return findings;
  return {{id, title, describe_order(lan)}};
}

}  // namespace tools
