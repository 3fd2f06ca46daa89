// VLAN membership.
//
// What: for each VLAN two sorted lists of ports, those that get its frames untagged and those that
// get them tagged; for each port its PVID. A flood walks the two lists, so it costs what its VLAN's
// members cost and not what all ports cost. Is a port a member? One comparison with its PVID, then
// a binary search among the tagged members.
//
// Classification (IEEE 802.1Q-2018 §6.9), with 0x8100 the only tag that counts:
//
//   C-TAG with a VID        that VLAN, when the port is its member, tagged or not
//   C-TAG with VID 0        VLAN 0 when the port is its tagged member, or else as without a tag
//   anything else           the PVID, when the port has one
//
// VDE puts a priority-tagged frame (VID 0) in VLAN 0 whatever the PVID is. Here it follows the PVID
// as the standard says, but for a port that was made a tagged member of VLAN 0: to that port its
// own frames go out with VID 0, so they have to come in with it too.
//
// A port that stops being a member of a VLAN takes the stations it had there out of the forwarding
// table, hence a station that is found is always behind a member.
//
// VLAN 0 cannot be removed, not even when it has no members: every new port joins it.
//
// Refused: a bit set of ports per VLAN (2 MB for all of them, and a flood that scans it), and
// filtering by 0x88a8, which VDE passes as payload.
#include "vlan/vlans.h"

#include <algorithm>
#include <cerrno>

#include "netstack/base/check.h"
#include "vlan/tags.h"

namespace vlan {

using netstack::check;
using netstack::Frame;
using netstack::PortId;

namespace {

bool contains(const std::vector<PortId>& ports, PortId port) {
  return std::binary_search(ports.begin(), ports.end(), port);
}

void insert(std::vector<PortId>& ports, PortId port) {
  const auto at = std::lower_bound(ports.begin(), ports.end(), port);
  if (at == ports.end() || *at != port) ports.insert(at, port);
}

bool in_range(int vid, int vid_max) {
  return vid >= 0 && vid <= vid_max;
}

}  // namespace

Vlans::Vlans(Fdb& fdb, uint32_t port_count_max)
    : fdb_(fdb), vlans_(size_t{kVidMax} + 1), members_(size_t{port_count_max} + 1) {
  vlans_[0] = std::make_unique<Vlan>();
}

// What was learned until now was learned by outer tags of any kind.
void Vlans::begin() {
  if (active_) return;
  active_ = true;
  fdb_.flush();
}

int Vlans::create(int vid) {
  if (vid < kVidMin || vid > kVidMax) return EINVAL;
  if (exists(vid)) return EEXIST;
  begin();
  vlans_[static_cast<size_t>(vid)] = std::make_unique<Vlan>();
  return 0;
}

int Vlans::remove(int vid) {
  if (!in_range(vid, kVidMax)) return EINVAL;
  const Vlan* vlan = find(vid);
  if (vlan == nullptr) return ENXIO;
  if (vid == 0 || !vlan->untagged.empty() || !vlan->tagged.empty()) return EADDRINUSE;
  begin();
  vlans_[static_cast<size_t>(vid)].reset();
  return 0;
}

int Vlans::set_pvid(PortId port, int vid) {
  if (const int error = find_errno(vid == kNoVid ? 0 : vid, port); error != 0) return error;
  Member& member = members_[port];
  if (member.pvid == vid) return 0;
  begin();
  leave_pvid(port);
  member.pvid = static_cast<uint16_t>(vid);
  if (vid == kNoVid) return 0;
  Vlan& vlan = *find(vid);
  std::erase(vlan.tagged, port);
  insert(vlan.untagged, port);
  return 0;
}

int Vlans::add_tagged(int vid, PortId port) {
  if (const int error = find_errno(vid, port); error != 0) return error;
  if (members_[port].pvid == vid || tagged(vid, port)) return 0;
  begin();
  insert(find(vid)->tagged, port);
  return 0;
}

int Vlans::remove_tagged(int vid, PortId port) {
  if (const int error = find_errno(vid, port); error != 0) return error;
  if (members_[port].pvid == vid) return EADDRINUSE;
  if (!tagged(vid, port)) return 0;
  begin();
  std::erase(find(vid)->tagged, port);
  fdb_.forget_port(port, static_cast<uint16_t>(vid));
  return 0;
}

bool Vlans::exists(int vid) const {
  return find(vid) != nullptr;
}

int Vlans::pvid(PortId port) const {
  return port < members_.size() ? members_[port].pvid : kNoVid;
}

bool Vlans::tagged(int vid, PortId port) const {
  const Vlan* vlan = find(vid);
  return vlan != nullptr && contains(vlan->tagged, port);
}

std::span<const PortId> Vlans::untagged_ports(int vid) const {
  const Vlan* vlan = find(vid);
  return vlan == nullptr ? std::span<const PortId>() : vlan->untagged;
}

std::span<const PortId> Vlans::tagged_ports(int vid) const {
  const Vlan* vlan = find(vid);
  return vlan == nullptr ? std::span<const PortId>() : vlan->tagged;
}

void Vlans::join(PortId port) {
  check(port < members_.size() && !members_[port].attached, "a port joins once");
  members_[port] = {.attached = true, .pvid = 0};
  insert(vlans_[0]->untagged, port);
}

// The stations it had are forgotten by the switch, in all VLANs at once.
void Vlans::leave(PortId port) {
  for (const auto& vlan : vlans_) {
    if (vlan == nullptr) continue;
    std::erase(vlan->untagged, port);
    std::erase(vlan->tagged, port);
  }
  members_[port] = {};
}

std::optional<uint16_t> Vlans::classify(PortId ingress, const Frame& frame) const {
  const uint16_t pvid = members_[ingress].pvid;
  if (is_c_tagged(frame)) {
    const uint16_t vid = frame.vid();
    const Vlan* vlan = find(vid);
    if (vlan != nullptr && contains(vlan->tagged, ingress)) return vid;
    if (vid != 0 && vid != pvid) return std::nullopt;
  }
  if (pvid == kNoVid) return std::nullopt;
  return pvid;
}

// 0 when there are such a VLAN and such a port.
int Vlans::find_errno(int vid, PortId port) const {
  if (!in_range(vid, kVidMax) || port >= members_.size()) return EINVAL;
  return exists(vid) && members_[port].attached ? 0 : ENXIO;
}

Vlans::Vlan* Vlans::find(int vid) const {
  return in_range(vid, kVidMax) ? vlans_[static_cast<size_t>(vid)].get() : nullptr;
}

void Vlans::leave_pvid(PortId port) {
  const uint16_t pvid = members_[port].pvid;
  if (pvid == kNoVid) return;
  std::erase(find(pvid)->untagged, port);
  fdb_.forget_port(port, pvid);
}

}  // namespace vlan
