#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

constexpr const char* kId = "vlans";
constexpr const char* kTitle = "VLANs";

std::string vlan_name(unsigned vid) {
  return vid == 0 ? "untagged" : fmt::format("VLAN {}", vid);
}

std::string names(const std::vector<unsigned>& vids) {
  std::string text;
  for (const unsigned vid : vids) text.append(text.empty() ? "" : ", ").append(vlan_name(vid));
  return text;
}

bool have_one_in_common(const std::vector<unsigned>& vids, const std::vector<unsigned>& gateway) {
  return std::ranges::find_first_of(vids, gateway) != vids.end();
}

Finding describe(const LanSight& lan, const std::string& mac, const std::string& fact,
                 bool needed) {
  Finding finding = warning(
      kId, kTitle,
      fmt::format("{} {}; the gateway is {}", lan.guest_name(mac), fact, names(lan.gateway_vids())),
      "configure the guest's interface without a tag (eth0, not eth0.5), or put both in one VLAN");
  finding.needed = needed;
  finding.cause = netstack::cause_row(netstack::Cause::kWrongVlan).id;
  finding.address = mac;
  return finding;
}

}  // namespace

Findings check_vlans(const LanSight& lan) {
  if (!lan.guests) return {{kId, kTitle, "not looked for: this LAN has no gateway"}};
  Findings findings;
  const auto places = lan.places();
  const auto gateway = lan.gateway_vids();
  std::set<std::string> said;
  for (const GuestSight& guest : *lan.guests) {
    const SignSight& sign = guest.tagged_for_gateway;
    if (sign.count == 0 || sign.ago_s > kRecent_s) continue;
    const auto place = places.find(guest.mac);
    const bool heard = place != places.end() && have_one_in_common(place->second.vids, gateway);
    said.insert(guest.mac);
    findings.push_back(
        describe(lan, guest.mac,
                 fmt::format("calls the gateway in VLAN {} ({}, the last "
                             "{:.0f} s ago)",
                             sign.number, netstack::counted(sign.count, "frame"), sign.ago_s),
                 !heard));
  }
  for (const auto& [mac, place] : places) {
    if (said.contains(mac) || have_one_in_common(place.vids, gateway)) continue;
    findings.push_back(
        describe(lan, mac, fmt::format("is heard only in {}", names(place.vids)), false));
  }
  if (!findings.empty()) return findings;
  return {{kId, kTitle, "every guest is heard where the gateway is"}};
}

}  // namespace tools
