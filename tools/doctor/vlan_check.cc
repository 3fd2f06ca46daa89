#include <fmt/format.h>

#include <algorithm>

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

bool is_heard_by_gateway(const LanSight& lan, const std::vector<unsigned>& vids) {
  const auto gateway = lan.gateway_vids();
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
  for (const GuestSight& guest : *lan.guests) {
    const SignSight& sign = guest.tagged_for_gateway;
    if (sign.count == 0 || sign.ago_s > kRecent_s) continue;
    const auto place = places.find(guest.mac);
    const bool heard = place != places.end() && is_heard_by_gateway(lan, place->second.vids);
    findings.push_back(
        describe(lan, guest.mac,
                 fmt::format("calls the gateway in VLAN {} ({}, the last "
                             "{:.0f} s ago)",
                             sign.number, netstack::counted(sign.count, "frame"), sign.ago_s),
                 !heard));
  }
  for (const auto& [mac, place] : places) {
    const bool said = std::ranges::find(findings, mac, &Finding::address) != findings.end();
    if (said || is_heard_by_gateway(lan, place.vids)) continue;
    findings.push_back(
        describe(lan, mac, fmt::format("is heard only in {}", names(place.vids)), false));
  }
  if (!findings.empty()) return findings;
  return {{kId, kTitle, "every guest is heard where the gateway is"}};
}

}  // namespace tools
