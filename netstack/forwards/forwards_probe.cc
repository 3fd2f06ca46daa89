// Whether guests answer: probes for forwards that wait, clients' connections for those that are
// ready.
#include <fmt/format.h>

#include <algorithm>

#include "netstack/base/bytes.h"
#include "netstack/forwards/forwards.h"
#include "netstack/frame/frame.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/ndp.h"
#include "netstack/wire/pseudo_header.h"

namespace netstack {

namespace {

constexpr uint16_t kProbeWindow = 1024;  // for show: no data will come
constexpr uint8_t kAnswerFlags = kTcpSyn | kTcpAck | kTcpRst;

bool is_synack(const Tcp& tcp) {
  return (tcp.flags & kAnswerFlags) == (kTcpSyn | kTcpAck);
}

// A SYN without ACK, told by as few bytes as can be: every frame for a guest is looked at.
bool is_opening(std::span<const uint8_t> frame) {
  constexpr size_t kFlagsAt = 13;  // in the TCP header
  if (frame.size() < kEthernetHeadBytes + kIpv4HeadBytes + kTcpHeadBytes) return false;
  const uint16_t ethertype = read_u16(&frame[12]);
  size_t tcp_at = kEthernetHeadBytes;
  if (ethertype == kEthertypeIpv4) {
    if (frame[tcp_at + 9] != kProtocolTcp) return false;
    tcp_at += size_t{frame[tcp_at] & 0x0fU} * 4;
  } else {
    if (ethertype != kEthertypeIpv6 || frame[tcp_at + 6] != kProtocolTcp) return false;
    tcp_at += kIpv6HeadBytes;
  }
  if (frame.size() < tcp_at + kTcpHeadBytes) return false;
  return (frame[tcp_at + kFlagsAt] & (kTcpSyn | kTcpAck)) == kTcpSyn;
}

}  // namespace

template <typename Visit>
void Forwards::for_each_to(const IpAddress& guest, uint16_t port, Visit visit) {
  for (auto& [number, entry] : entries_) {
    if (entry.forward.rule.protocol != Protocol::kTcp || entry.forward.rule.guest_port != port) {
      continue;
    }
    const auto place = neighbours_.find(entry.target);
    if (entry.guest == guest || (place && place->address == guest)) visit(entry);
  }
}

// --- who is there -----------------------------------------------------------------------------

void Forwards::hear_arp(std::span<const uint8_t> message) {
  if (!entries_.empty() && neighbours_.hear_arp(message)) guest_heard();
}

// Neighbour discovery tells where its source is, but not while the address itself is in question
// (RFC 4862 §5.4): it is found when it is asked for. Echo replies answer Neighbours.
bool Forwards::hear_icmpv6(const GuestPacket& packet) {
  if (entries_.empty() || packet.transport.empty()) return false;
  const uint8_t type = packet.transport[0];
  const bool reply = type == kIcmpv6EchoReply && packet.destination == self_.address6;
  const bool discovery = type >= kIcmpv6RouterSolicitation && type <= kIcmpv6Redirect &&
                         packet.hop_limit == kNdpHopLimit &&
                         packet.source.octets != IpAddress{}.octets;
  if ((reply || discovery) && neighbours_.hear(packet.source, packet.path.guest)) guest_heard();
  return reply;
}

void Forwards::guest_heard() {
  for (auto& [number, entry] : entries_) {
    const auto place = neighbours_.find(entry.target);
    if (!place || entry.forward.state != ForwardState::kOpen || entry.guest != IpAddress{})
      continue;
    try {
      let_in_by(entry, place->address);  // UDP that waited for the first IPv6 guest
    } catch (const std::exception& error) {
      quiet_log_.line(error.what());
    }
  }
  arm(0);
}

// --- probes -------------------------------------------------------------------------------------

// One timer: at 200 ms while there is anybody to ask, else when an address is to be looked for.
void Forwards::arm(uint64_t delay_ns) {
  const uint64_t at_ns = loop_.clock().monotonic_ns() + delay_ns;
  if (timer_ != 0 && timer_at_ns_ <= at_ns) return;
  loop_.cancel(timer_);
  timer_at_ns_ = at_ns;
  timer_ = loop_.at(at_ns, [this] {
    timer_ = 0;
    round();
  });
}

void Forwards::round() {
  const uint64_t look_at_ns = neighbours_.ask_due();
  give_up_openings();
  if (probe_waiting() || !openings_.empty()) arm(kProbeInterval_ns);
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  if (look_at_ns != UINT64_MAX) arm(look_at_ns - std::min(look_at_ns, now_ns));
}

// The next kProbesPerRound that wait and whose guest is known. False: there is none.
bool Forwards::probe_waiting() {
  size_t probes = 0;
  auto at = entries_.upper_bound(probed_last_);
  for (size_t seen = 0; seen < entries_.size() && probes < kProbesPerRound; ++seen, ++at) {
    if (at == entries_.end()) at = entries_.begin();
    Entry& entry = at->second;
    if (entry.forward.state != ForwardState::kWaiting) continue;
    const auto place = neighbours_.find(entry.target);
    if (!place) {
      entry.forward.answer = ForwardAnswer::kNoGuest;
      continue;
    }
    probe(entry, *place);
    probed_last_ = at->first;
    ++probes;
  }
  return probes > 0;
}

void Forwards::probe(Entry& entry, const Neighbours::Place& place) {
  if (entry.silent_probes == kSilentProbesMax) {
    entry.silent_probes = 0;
    entry.forward.answer = ForwardAnswer::kSilent;
    neighbours_.doubt(entry.target);
  }
  ++entry.silent_probes;
  const bool v6 = place.address.v6;
  const auto packet = make_tcp_packet(v6 ? self_.address6 : self_.address4, place.address,
                                      {.source_port = kProbePort,
                                       .destination_port = entry.forward.rule.guest_port,
                                       .seq = entry.iss,
                                       .flags = kTcpSyn,
                                       .window = kProbeWindow});
  output_.send_packet({.guest = place.mac, .gateway = v6 ? self_.mac6 : self_.mac4}, packet,
                      fmt::format("lanyard asks whether the guest listens, for the forward {}",
                                  to_string(entry.forward.rule)));
}

bool Forwards::is_probe(const FlowKey& key) const {
  return key.protocol == Protocol::kTcp && key.peer_port == kProbePort &&
         key.peer == (key.guest.v6 ? self_.address6 : self_.address4);
}

bool Forwards::take(const GuestPacket& packet, const Tcp& tcp) {
  const bool answer = is_synack(tcp) || (tcp.flags & kTcpRst) != 0;
  if (!answer || entries_.empty()) return false;
  const IpAddress& own = packet.v6() ? self_.address6 : self_.address4;
  if (tcp.destination_port == kProbePort && packet.destination == own) {
    return take_probe_answer(packet, tcp);
  }
  if (!openings_.empty()) settle_opening(packet, tcp);
  return false;
}

bool Forwards::take_probe_answer(const GuestPacket& packet, const Tcp& tcp) {
  if (transport_checksum(packet.source, packet.destination, kProtocolTcp, packet.transport) != 0) {
    return true;
  }
  if (is_synack(tcp)) end_probe(packet, tcp);
  for_each_to(packet.source, tcp.source_port, [&](Entry& entry) {
    if (tcp.ack != entry.iss + 1 || entry.forward.state != ForwardState::kWaiting) return;
    entry.silent_probes = 0;
    if (is_synack(tcp)) return let_in(entry, packet.source);
    entry.forward.answer = ForwardAnswer::kRefused;
  });
  return true;
}

// The handshake ends here: the guest's program never hears of it.
void Forwards::end_probe(const GuestPacket& packet, const Tcp& tcp) {
  output_.send_packet(packet.path,
                      make_tcp_packet(packet.destination, packet.source,
                                      {.source_port = tcp.destination_port,
                                       .destination_port = tcp.source_port,
                                       .seq = tcp.ack,
                                       .flags = kTcpRst}),
                      "lanyard has its answer and ends its question");
}

// --- clients' connections
// -------------------------------------------------------------------------

void Forwards::look_for_opening(std::span<const uint8_t> frame) {
  if (!is_opening(frame)) return;
  const auto packet = parse_towards_guest(frame);
  const auto tcp = packet ? parse_tcp(packet->transport) : std::nullopt;
  if (!tcp || openings_.size() >= kOpeningsMax) return;
  openings_.try_emplace(
      Opening{packet->destination, tcp->destination_port, packet->source, tcp->source_port},
      Begun{.iss = tcp->seq, .since_ns = loop_.clock().monotonic_ns()});
  arm(kAnswer_ns);
}

// The guest answers a client's SYN, one way or the other.
void Forwards::settle_opening(const GuestPacket& packet, const Tcp& tcp) {
  const auto found =
      openings_.find({packet.source, tcp.source_port, packet.destination, tcp.destination_port});
  if (found == openings_.end() || tcp.ack != found->second.iss + 1) return;
  openings_.erase(found);
  for_each_to(packet.source, tcp.source_port, [&](Entry& entry) {
    if (is_synack(tcp)) {
      ++entry.forward.connections;
      return;
    }
    ++entry.forward.failed;
    keep_out(entry, ForwardAnswer::kRefused);
  });
}

// A SYN without an answer: either the guest is busy, then its client waits as it would on any
// network, or it has gone, which its address tells.
void Forwards::give_up_openings() {
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  for (auto at = openings_.begin(); at != openings_.end();) {
    const Opening opening = at->first;
    Begun& begun = at->second;
    if (now_ns < begun.since_ns + kAnswer_ns) {
      ++at;
      continue;
    }
    bool in_doubt = false;
    bool is_there = false;
    for_each_to(opening.guest, opening.guest_port, [&](Entry& entry) {
      if (!begun.doubted) neighbours_.doubt(entry.target);
      in_doubt |= neighbours_.in_doubt(entry.target);
      is_there |= neighbours_.find(entry.target).has_value();
    });
    begun.doubted = true;
    if (in_doubt) {
      ++at;
      continue;
    }
    const Begun gone = begun;
    at = openings_.erase(at);
    if (is_there) continue;
    for_each_to(opening.guest, opening.guest_port, [&](Entry& entry) {
      ++entry.forward.failed;
      keep_out(entry, ForwardAnswer::kNoGuest);
    });
    reset_client(opening, gone);
  }
}

// As if the guest had refused.
void Forwards::reset_client(const Opening& opening, const Begun& begun) {
  const auto packet = make_tcp_packet(opening.guest, opening.source,
                                      {.source_port = opening.guest_port,
                                       .destination_port = opening.source_port,
                                       .ack = begun.iss + 1,
                                       .flags = kTcpRst | kTcpAck});
  std::vector<uint8_t> frame(kEthernetHeadBytes);
  (opening.guest.v6 ? self_.mac6 : self_.mac4).write(frame.data());
  write_u16(&frame[12], opening.guest.v6 ? kEthertypeIpv6 : kEthertypeIpv4);
  frame.insert(frame.end(), packet.begin(), packet.end());
  engine_.input_reset(frame, opening.guest_port);
}

}  // namespace netstack
