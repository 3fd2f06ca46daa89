// The switch.
//
// What: for each frame of a burst, learn its source, decide, and hand it on. A decision is one
// port, all other ports, or a drop. Consecutive frames with the same decision make a run, and a run
// costs one Port::send (or one addition to a drop counter), so the price of a call, and later of a
// system call, is paid once per run and not once per frame.
//
//   burst   A→B A→B A→B A→* A→B
//   runs    [   B     ] [*] [B]     three sends to B's port in all: 3 frames, 1 frame, 1 frame
//
// A frame with the same two addresses and VID as the one before it has the same decision, since
// only a source that differs can change the table in between; neither learning nor looking up is
// needed. Bulk traffic comes as such trains: for a burst of 64 this took the whole way through the
// switch from 8.5 to 2.8 ns per frame (bench/switch.cc, BM_switch_unicast/64).
//
// Frames keep their order: runs are sent in the order they came, and a port sees the frames of a
// run in theirs.
//
// Plain and ruled: a transparent switch takes each burst the plain way. VLANs, hub mode and an
// engaged storm guard make it take the ruled way: the same loop, with a decision that asks all of
// them, compiled apart so that the plain way pays for none of it: it costs what it did before there
// was another (BM_switch_unicast*). Which way is settled once a burst.
//
// In VLAN mode a run shares its VLAN too, and each egress port gets it in the form it wants (see
// tags.cc). A hub learns as well, though it never looks anything up: stations that move are how the
// storm guard notices a loop.
//
// Refused: sorting a burst by egress port (fewer sends, but a burst that mixes many destinations is
// rare and order between a flood and a unicast would need care), and a queue inside the switch
// (each port already has one; two would hide which is full).
#include "vlan/switch.h"

#include <algorithm>
#include <cstring>

#include "netstack/base/check.h"

namespace vlan {

using netstack::check;
using netstack::DropReason;
using netstack::Frame;
using netstack::Mac;
using netstack::Mirror;
using netstack::Port;
using netstack::PortId;

namespace {

constexpr size_t kAddressBytes = sizeof(Mac);

bool has_whole_head(const Frame& frame) {
  return (frame.head_bytes == netstack::kEthernetHeadBytes ||
          frame.head_bytes == netstack::kTaggedHeadBytes) &&
         frame.bytes >= frame.head_bytes;
}

bool same_source(const Frame& a, const Frame& b) {
  return std::memcmp(a.head.data() + kAddressBytes, b.head.data() + kAddressBytes, kAddressBytes) ==
             0 &&
         a.vid() == b.vid();
}

bool same_stations(const Frame& a, const Frame& b) {
  return std::memcmp(a.head.data(), b.head.data(), 2 * kAddressBytes) == 0 && a.vid() == b.vid();
}

}  // namespace

Switch::Switch(netstack::Clock& clock, const FdbConfig& config)
    : clock_(clock), fdb_(config), vlans_(fdb_, config.port_count_max), guard_(fdb_) {
  ports_.reserve(size_t{config.port_count_max} + 1);
  ports_.push_back(nullptr);
}

Switch::~Switch() {
  for (Port* port : attached_) port->detach();
}

bool Switch::full() const {
  const size_t count = attached_.size() - (is_attached(0) ? 1 : 0);
  return count == fdb_.config().port_count_max;
}

PortId Switch::attach(Port& port) {
  check(!full(), "a port is attached only when the switch has room");
  const auto free = std::find(ports_.begin() + 1, ports_.end(), nullptr);
  const auto id = static_cast<PortId>(free - ports_.begin());
  place(id, port);
  return id;
}

bool Switch::attach_at(PortId id, Port& port) {
  if (id > fdb_.config().port_count_max || is_attached(id)) return false;
  place(id, port);
  return true;
}

void Switch::place(PortId id, Port& port) {
  check(!receiving_, "ports are attached between bursts");
  if (id >= ports_.size()) ports_.resize(size_t{id} + 1);
  ports_[id] = &port;
  const auto after = [](PortId number, const Port* one) { return number < one->id(); };
  attached_.insert(std::upper_bound(attached_.begin(), attached_.end(), id, after), &port);
  vlans_.join(id);
  guard_.join(id);
  port.attach(*this, id);
}

void Switch::detach(Port& port) {
  check(!receiving_, "ports are detached between bursts");
  const PortId id = port.id();
  check(is_attached(id) && ports_[id] == &port, "only an attached port is detached");
  ports_[id] = nullptr;
  std::erase(attached_, &port);
  fdb_.forget_port(id);
  vlans_.leave(id);
  guard_.leave(id);
  port.detach();
}

void Switch::mirror_to(Mirror* mirror) {
  check(!receiving_, "a mirror is set between bursts");
  mirror_ = mirror;
}

void Switch::set_hub(bool hub) {
  check(!receiving_, "a switch becomes a hub between bursts");
  if (hub != hub_) fdb_.flush();
  hub_ = hub;
}

void Switch::receive(PortId ingress, std::span<Frame> burst) noexcept {
  check(!receiving_, "no port delivers while the switch is sending");
  check(is_attached(ingress), "frames come from attached ports");
  if (burst.empty()) return;
  receiving_ = true;
  delivering_ = ingress;
  if (mirror_ != nullptr) mirror_->observe(*ports_[ingress], burst);

  const uint64_t now_ns = clock_.monotonic_ns();
  if (hub_ || vlans_.active() || guard_.engaged()) {
    guard_.release_when_due(now_ns);
    take_burst<Mode::kRuled>(ingress, burst, now_ns);
  } else {
    take_burst<Mode::kPlain>(ingress, burst, now_ns);
  }
  receiving_ = false;
}

template <Switch::Mode kMode>
void Switch::take_burst(PortId ingress, std::span<const Frame> burst, uint64_t now_ns) noexcept {
  Decision run;
  size_t run_start = 0;  // frames [run_start, at) share the decision `run`
  for (size_t at = 0; at < burst.size(); ++at) {
    const Frame& frame = burst[at];
    check(has_whole_head(frame), "a frame's head is whole: 14 bytes, or 18 with a tag");
    const Frame* before = at == 0 ? nullptr : &burst[at - 1];
    Decision decision;
    if constexpr (kMode == Mode::kPlain) {
      if (before != nullptr && same_stations(*before, frame)) continue;
      const bool learns = before == nullptr || !same_source(*before, frame);
      decision = decide(ingress, frame, now_ns, learns);
    } else {
      // The guard looks at more than the addresses.
      if (before != nullptr && !guard_.engaged() && same_stations(*before, frame) &&
          is_c_tagged(*before) == is_c_tagged(frame) && before->tagged() == frame.tagged()) {
        continue;
      }
      decision = decide_by_rules(ingress, frame, now_ns);
    }
    if (decision == run && at > 0) continue;
    carry_out(run, ingress, burst.subspan(run_start, at - run_start));
    run = decision;
    run_start = at;
  }
  carry_out(run, ingress, burst.subspan(run_start));
}

// Link-local groups (01:80:c2:00:00:0x, IEEE 802.1Q-2018 table 8-1) flood like any other group:
// this switch is a wire to the guests' own STP, LACP, LLDP and EAPOL.
inline Switch::Decision Switch::look_up(PortId ingress, const Frame& frame, uint16_t vid,
                                        uint64_t now_ns) const {
  using enum Decision::Verb;
  const Mac destination = frame.destination();
  if (destination.is_group()) return {.verb = kFlood};
  const auto egress = fdb_.lookup(destination, vid, now_ns);
  if (!egress) return {.verb = kFlood};
  if (*egress == ingress) return {.verb = kDrop, .reason = DropReason::kHairpin};
  return {.verb = kForward, .egress = *egress};
}

// A group is nobody's address: such a frame is forwarded, as VDE does, and not learned. It is taken
// for one whose station has just moved, so that the guard sees what comes back of it.
inline Learned Switch::learn(PortId ingress, const Frame& frame, uint16_t vid, uint64_t now_ns) {
  const Mac source = frame.source();
  if (source.is_group()) [[unlikely]] {
    return Learned::kMoved;
  }
  return fdb_.learn(ingress, source, vid, now_ns);
}

Switch::Decision Switch::decide(PortId ingress, const Frame& frame, uint64_t now_ns, bool learns) {
  using enum Decision::Verb;
  const Learned learned = learns ? learn(ingress, frame, frame.vid(), now_ns) : Learned::kNothing;
  const Decision decision = look_up(ingress, frame, frame.vid(), now_ns);
  if (learned == Learned::kMoved && decision.verb == kFlood) [[unlikely]] {
    guard_.admits(ingress, frame, frame.vid(), now_ns);
  }
  return decision;
}

Switch::Decision Switch::decide_by_rules(PortId ingress, const Frame& frame, uint64_t now_ns) {
  using enum Decision::Verb;
  const auto drop = [](DropReason reason) { return Decision{.verb = kDrop, .reason = reason}; };
  uint16_t vid = frame.vid();
  if (in_vlans()) {
    const auto classified = vlans_.classify(ingress, frame);
    if (!classified) return drop(DropReason::kVlanNotMember);
    if (takes_two_tags(frame) && frame.body.size() > kBodyPartsMax) return drop(DropReason::kLimit);
    vid = *classified;
  }
  if (guard_.engaged() && !guard_admits(ingress, frame, vid, now_ns)) {
    return drop(DropReason::kStorm);
  }
  const Learned learned = learn(ingress, frame, vid, now_ns);
  Decision decision = hub_ ? Decision{.verb = kFlood} : look_up(ingress, frame, vid, now_ns);
  if (in_vlans() && decision.verb != kDrop) decision.vid = vid;
  if (learned == Learned::kMoved && decision.verb == kFlood && !guard_.engaged()) {
    guard_.admits(ingress, frame, vid, now_ns);
  }
  return decision;
}

// Asked before anything is learned from the frame, for a copy teaches what is wrong.
bool Switch::guard_admits(PortId ingress, const Frame& frame, uint16_t vid, uint64_t now_ns) {
  const Decision decision = look_up(ingress, frame, vid, now_ns);
  const bool in_doubt = hub_ || decision.verb == Decision::Verb::kFlood ||
                        (decision.verb == Decision::Verb::kForward && guard_.looping(ingress) &&
                         guard_.looping(decision.egress));
  return !in_doubt || guard_.admits(ingress, frame, vid, now_ns);
}

void Switch::carry_out(const Decision& decision, PortId ingress,
                       std::span<const Frame> run) noexcept {
  if (run.empty()) return;
  switch (decision.verb) {
    case Decision::Verb::kDrop:
      ports_[ingress]->count_drop(decision.reason, run.size());
      return;
    case Decision::Verb::kForward:
      if (in_vlans()) return forward_in_vlan(decision, run);
      ports_[decision.egress]->send(run);
      return;
    case Decision::Verb::kFlood:
      if (in_vlans()) return flood_in_vlan(decision.vid, ingress, run);
      flood(ingress, run);
      return;
  }
}

// Not to VDE's management port when we are a hub: whoever is there asked to be spared the LAN.
void Switch::flood(PortId ingress, std::span<const Frame> run) noexcept {
  for (Port* port : attached_) {
    if (port->id() != ingress && !(hub_ && port->id() == 0)) port->send(run);
  }
}

void Switch::forward_in_vlan(const Decision& decision, std::span<const Frame> run) noexcept {
  const bool untagged = vlans_.pvid(decision.egress) == decision.vid;
  while (!run.empty()) {
    const auto part =
        tagger_.reshape(run, decision.vid, untagged ? Form::kUntagged : Form::kTagged);
    ports_[decision.egress]->send(part);
    run = run.subspan(part.size());
  }
}

void Switch::flood_in_vlan(uint16_t vid, PortId ingress, std::span<const Frame> run) noexcept {
  const auto send_to = [&](std::span<const PortId> members, Form form) {
    if (members.empty()) return;
    for (auto rest = run; !rest.empty();) {
      const auto part = tagger_.reshape(rest, vid, form);
      for (const PortId id : members) {
        if (id != ingress) ports_[id]->send(part);
      }
      rest = rest.subspan(part.size());
    }
  };
  send_to(vlans_.untagged_ports(vid), Form::kUntagged);
  send_to(vlans_.tagged_ports(vid), Form::kTagged);
}

}  // namespace vlan
