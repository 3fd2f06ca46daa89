#include "netstack/gateway/gateway.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/checksum.h"
#include "netstack/reachability/judge_packet.h"
#include "netstack/reachability/own_address.h"
#include "netstack/wire/arp.h"
#include "netstack/wire/dhcpv6.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/pseudo_header.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"

namespace netstack {

namespace {

constexpr uint16_t kPortTftp = 69;

bool is_link_local6(const IpAddress& address) {
  return address.v6 && address.octets[0] == 0xfe && (address.octets[1] & 0xc0U) == 0x80U;
}

// Router and neighbour discovery, RFC 4861 §4.
bool is_discovery(const GuestPacket& packet) {
  return packet.protocol == kProtocolIcmpv6 && packet.v6() && !packet.transport.empty() &&
         packet.transport[0] >= kIcmpv6RouterSolicitation && packet.transport[0] <= kIcmpv6Redirect;
}

// What the sender left undone of a copied frame. False: its order is malformed.
bool finish(const Offload& offload, size_t head_bytes, std::span<uint8_t> copy) {
  if (!offload.needs_checksum) return true;
  return offload.checksum_start >= head_bytes &&
         finish_checksum(copy, offload.checksum_start, offload.checksum_offset);
}

}  // namespace

Mac engine_mac(const IpAddress& address) {
  const uint8_t* tail = address.octets.data() + (address.v6 ? 12 : 0);
  return {
      {0x52, static_cast<uint8_t>(address.v6 ? 0x56 : 0x55), tail[0], tail[1], tail[2], tail[3]}};
}

Gateway::Gateway(Loop& loop, const GatewayConfig& config, Log& log)
    : Port("gateway", kFrameBytesMax),
      loop_(loop),
      network_(config.network),
      leasing_(config.dhcp),
      gateway4_(config.network.gateway()),
      reachability_({.resolv_conf = config.resolv_conf}),
      verdicts_(reachability_),
      reasons_(loop, log),
      policy_(config.policy),
      flows_(loop, FlowAccount::flows_max_of_process()),
      large_(config.names.mtu == 0 ? kMtu : config.names.mtu),
      echo_(loop, {.on_reply = [this](const EchoReply& reply) { on_echo_reply(reply); },
                   .on_error = [this](const EchoError& error) { on_echo_error(error); }}),
      connects_(loop,
                [this](const TcpFlow& flow) {
                  return reachability_.explain_held_back(
                      on_host({Protocol::kTcp, flow.server, flow.server_port}));
                }),
      names_(loop, config, engine_mac(gateway4_), engine_mac(gateway6_), log,
             {.send = [this](const ReturnPath& path,
                             std::span<const uint8_t> packet) { stage_packet(path, packet); },
              .drop = [this](DropReason reason) { count_drop(reason); },
              .ask_who_has =
                  [this](const IpAddress& address) {
                    stage(make_arp_request(engine_mac(gateway4_), gateway4_, address));
                    schedule_flush();
                  },
              .on_failure =
                  [this](const DnsClient& client, std::span<const uint8_t> query,
                         const DnsFailure& failure) {
                    return on_query_failure(client, query, failure);
                  },
              .may_ask = [this](const DnsClient& client,
                                const std::string& name) { return may_ask(client, name); },
              .on_answered =
                  [this](const DnsClient& client, std::span<const uint8_t> message) {
                    note_question(client, message, FlowState::kClosed);
                  },
              .on_told = [this](const DnsClient& client,
                                std::span<const uint8_t> message) { on_told(client, message); }}),
      guests_(loop.clock(), config.network, engine_mac(gateway4_), config.names.mtu),
      forwards_(loop, config,
                {.address4 = gateway4_,
                 .address6 = gateway6_,
                 .mac4 = engine_mac(gateway4_),
                 .mac6 = engine_mac(gateway6_)},
                engine_, log,
                {.send_packet = [this](const ReturnPath& path, std::span<const uint8_t> packet,
                                       std::string_view note) { stage_packet(path, packet, note); },
                 .send_frame =
                     [this](std::span<const uint8_t> frame) {
                       stage(frame);
                       schedule_flush();
                     }}),
      guest_forwards_(
          loop, config, engine_mac(gateway4_), engine_, log,
          {.send_packet = [this](const ReturnPath& path,
                                 std::span<const uint8_t> packet) { stage_packet(path, packet); },
           .send_frame =
               [this](std::span<const uint8_t> frame) {
                 stage(frame);
                 schedule_flush();
               }}),
      engine_(
          loop, config, log, connects_,
          [this](std::span<const uint8_t> frame, int send_errno) {
            on_engine_frame(frame, send_errno);
          },
          [this] { schedule_flush(); }) {
  policy_.watch([this] { on_policy_change(); });
  for (const std::string& line : policy_.idle_rules()) log.line(line);
  for (const HostForward& forward : config.forwards) forwards_.add(forward);
  // Joined, a guest's segments cost the engine one system call and one answer. Not over IPv6: it
  // takes no packet there that is larger than the MTU it was told. Checksums it wants finished, but
  // that is done in the copy made here anyway.
  take_offloads(kOffloadChecksum | kOffloadTcp4 | kOffloadEcn, true);
}

Gateway::~Gateway() = default;

bool Gateway::is_ours(const IpAddress& address) const {
  return address == own_address(address.v6) || is_nameserver(address) || is_link_local6(address);
}

// Whom the engine serves: our networks, and a guest that has no address yet.
bool Gateway::is_guest(const IpAddress& address) const {
  if (!address.v6) return network_.contains(address) || address == IpAddress{};
  constexpr size_t kPrefixBytes = GatewayNetwork::kPrefix6Bits / 8;
  const auto within = [&](const IpAddress& prefix) {
    return std::equal(prefix.octets.begin(), prefix.octets.begin() + kPrefixBytes,
                      address.octets.begin());
  };
  IpAddress unspecified;
  unspecified.v6 = true;
  IpAddress link_local = unspecified;
  link_local.octets[0] = 0xfe;
  link_local.octets[1] = 0x80;
  return within(GatewayNetwork::prefix6()) || within(link_local) || address == unspecified;
}

bool Gateway::is_nameserver(const IpAddress& address) const {
  if (address.v6) return address == GatewayNetwork::nameserver6();
  return address == network_.nameserver() && !network_.nameserver_elsewhere;
}

bool Gateway::is_ours(const Mac& mac) const {
  return mac == engine_mac(gateway4_) || mac == engine_mac(network_.nameserver()) ||
         mac == engine_mac(gateway6_) || mac == engine_mac(GatewayNetwork::nameserver6());
}

size_t Gateway::transmit(std::span<const Frame> burst) noexcept {
  thread_local std::array<uint8_t, kFrameBytesMax> scratch;
  flows_.begin_burst();
  for (const Frame& frame : burst) {
    // A flooded frame for somebody else: libslirp would not notice and translate it.
    if (!frame.destination().is_group() && !is_ours(frame.destination())) continue;
    guests_.watch_size(frame);
    if (frame.vid() != 0) {
      guests_.note_tagged(frame);
      count_drop(DropReason::kVlanNotMember);
      continue;
    }
    uint32_t bytes = copy_frame(frame, scratch.data());
    if (!finish(frame.offload, frame.head_bytes, {scratch.data(), bytes})) {
      count_drop(DropReason::kBadOffload);
      continue;
    }
    if (frame.tagged()) {  // a priority tag says nothing about the network: take it off
      std::copy(scratch.data() + kTaggedHeadBytes - 2, scratch.data() + bytes,
                scratch.data() + kEthernetHeadBytes - 2);
      bytes -= kTagBytes;
    }
    take({scratch.data(), bytes});
  }
  return burst.size();
}

// --- in: a guest's frame ------------------------------------------------------------------------

void Gateway::take(std::span<uint8_t> frame) {
  const uint16_t ethertype = read_u16(&frame[12]);
  if (ethertype == kEthertypeArp) {
    guests_.hear_arp(frame);
    if (const auto arp = parse_arp(frame.subspan(kEthernetHeadBytes))) {
      names_.hear_address(arp->sender_ip, Mac{arp->sender_mac}, sender());
    }
    forwards_.hear_arp(frame.subspan(kEthernetHeadBytes));
    guest_forwards_.hear_arp(frame.subspan(kEthernetHeadBytes));
    engine_.input(frame);
    return;
  }
  if (ethertype != kEthertypeIpv4 && ethertype != kEthertypeIpv6) {
    return count_drop(DropReason::kUnsupported);
  }
  const auto packet = parse_guest_packet(frame);
  if (!packet) return count_drop(DropReason::kMalformed);
  guests_.hear(*packet, is_guest(packet->source));
  if (!is_guest(packet->source)) return count_drop(DropReason::kForeignSource);
  if (concerns_us(*packet)) take_packet(*packet, frame);
}

void Gateway::take_packet(const GuestPacket& packet, std::span<uint8_t> frame) {
  const bool joinable = packet.protocol == kProtocolUdp || packet.protocol == kProtocolIcmp;
  if (packet.fragment && joinable) return take_fragment(packet);
  switch (packet.protocol) {
    case kProtocolIcmp:
      if (packet.v6()) break;
      return take_icmp(packet, frame);
    case kProtocolIcmpv6:
      if (!packet.v6()) break;
      return take_icmp(packet, frame);
    case kProtocolTcp:
      return take_tcp(packet, frame);
    case kProtocolUdp:
      return take_udp(packet, frame);
    default:
      break;
  }
  count_drop(DropReason::kUnsupported);
  const Target target{Protocol::kOther, packet.destination, packet.protocol};
  refuse(packet, target, protocol_unsupported(target));
}

// What a guest says to a group is carried no further than the LAN. Two things in it are for us:
// DHCP, where we lease (libslirp would otherwise take it for a broadcast to carry on), and the
// discovery of neighbours and routers. The rest (mDNS, IGMP, MLD, …) is not addressed
// to us, so leaving it is no drop. Nor is leaving a packet for one host in a frame for all: whoever
// answered it would answer from a group address (RFC 1122 §3.3.6 says to discard it).
bool Gateway::concerns_us(const GuestPacket& packet) const {
  if (!packet.destination.is_multicast() && !network_.is_broadcast(packet.destination)) {
    return !packet.path.gateway.is_group();
  }
  if (packet.fragment) return false;
  if (packet.protocol == kProtocolIcmpv6) return is_discovery(packet);
  const uint16_t dhcp = packet.v6() ? kPortDhcpv6Server : kPortDhcpServer;
  return leasing_ && packet.protocol == kProtocolUdp && packet.transport.size() >= kUdpHeadBytes &&
         read_u16(&packet.transport[2]) == dhcp;
}

// Neighbour and router discovery, and echo of the gateway's own addresses, are the engine's. Every
// other ICMP message stays out of it.
void Gateway::take_icmp(const GuestPacket& packet, std::span<uint8_t> frame) {
  const bool discovery =
      packet.v6() && !packet.transport.empty() && packet.transport[0] >= kIcmpv6RouterSolicitation;
  if (packet.v6() && forwards_.hear_icmpv6(packet)) return;
  if (discovery) {
    engine_.input(frame);
    return;
  }
  if (!pass_flow(packet)) return;
  if (!is_ours(packet.destination)) return request_echo(packet);
  take_guest_error(packet);
  engine_.input(frame);
}

// The engine never sees a fragment: libslirp 4.7 as Debian compiles it crashes on one that comes
// last and alone, since its ip_reass reads one list through two types.
void Gateway::take_fragment(const GuestPacket& packet) {
  const auto header = parse_ipv4(packet.ip);
  check(header.has_value(), "a parsed packet parses");
  const auto whole = reassembler_.add(*header, packet.ip, loop_.clock().monotonic_ns());
  if (!whole) return;
  std::vector<uint8_t> frame(kEthernetHeadBytes);
  packet.path.gateway.write(frame.data());
  packet.path.guest.write(frame.data() + 6);
  write_u16(&frame[12], kEthertypeIpv4);
  frame.insert(frame.end(), whole->begin(), whole->end());
  const auto joined = parse_guest_packet(frame);
  check(joined && !joined->fragment, "a joined packet parses");
  take_packet(*joined, frame);
}

void Gateway::request_echo(const GuestPacket& packet) {
  const auto echo = parse_icmp_echo(packet.transport, packet.v6());
  if (!echo || echo->reply) return count_drop(DropReason::kUnsupported);
  const bool sound =
      packet.v6() ? icmpv6_checksum_valid(packet.source, packet.destination, packet.transport)
                  : icmp_checksum_valid(packet.transport);
  if (!sound) return count_drop(DropReason::kMalformed);
  const Target target{Protocol::kIcmpEcho, packet.destination, 0};
  if (packet.v6() && packet.ip.size() > kMtu) {  // its reply could not come back in one piece
    return refuse(packet, target, too_big(true, packet.ip.size(), kMtu, "a frame of this LAN"));
  }
  if (!admit(packet, target)) return;
  echo_.request({.path = packet.path,
                 .guest = packet.source,
                 .destination = packet.destination,
                 .id = echo->id,
                 .seq = echo->seq,
                 .ttl = static_cast<uint8_t>(packet.hop_limit - 1),
                 .payload = echo->payload,
                 .whole = packet.stays_whole(),
                 .packet = packet.ip});
}

// TCP is not fragmented by any sender that means well, and a fragment can hide the urgent flag from
// clear_urgent: libslirp copies urgent data without looking how much there is.
void Gateway::take_tcp(const GuestPacket& packet, std::span<uint8_t> frame) {
  if (packet.fragment) return count_drop(DropReason::kUnsupported);
  const auto tcp = parse_tcp(packet.transport);
  if (!tcp) return count_drop(DropReason::kMalformed);
  if (forwards_.take(packet, *tcp)) return;
  const Target target{Protocol::kTcp, packet.destination, tcp->destination_port};
  const bool opening = (tcp->flags & (kTcpSyn | kTcpAck | kTcpRst)) == kTcpSyn;
  if (!pass_flow(packet)) return;
  if (guest_forwards_.serves(target.address, target.port)) {
    if (!guest_forwards_.take(packet, *tcp, frame)) input_tcp(*parse_guest_packet(frame), frame);
    return;
  }
  if (opening && (!admit(packet, target) || !admit_query(packet, target))) return;
  if (target.port == kPortDns && is_nameserver(target.address)) {
    if (!names_.redirect(packet, opening) && opening) {  // the host gives no socket for it
      count_drop(DropReason::kLimit);
      return refuse(packet, target,
                    {Cause::kDescriptorsExhausted, 0, "the host gives no port for DNS over TCP",
                     "DNS over UDP, or fewer flows at a time"});
    }
    const auto redirected = parse_guest_packet(frame);
    check(redirected.has_value(), "a packet that was whole stays whole");
    return input_tcp(*redirected, frame);
  }
  input_tcp(packet, frame);
}

void Gateway::input_tcp(const GuestPacket& packet, std::span<uint8_t> frame) {
  const auto tcp = parse_tcp(packet.transport);
  check(tcp.has_value(), "only TCP that was parsed goes on");
  if (!admit_sequence(packet, *tcp)) return count_drop(DropReason::kSequence);
  clear_urgent(packet.transport);
  if ((tcp->flags & kTcpSyn) != 0) large_.raise_mss(packet.transport, packet.v6());
  const auto exact =
      frame.first(kEthernetHeadBytes + packet.ip.size());  // it takes padding for data
  if ((tcp->flags & kTcpRst) != 0) return engine_.input_reset(exact, tcp->source_port);
  if ((tcp->flags & (kTcpSyn | kTcpAck)) != kTcpSyn) {
    in_engine_ = {packet.source, packet.destination, tcp->source_port, tcp->destination_port,
                  Protocol::kTcp};
    engine_.input(exact);
    in_engine_.reset();
    return;
  }
  const bool stays = is_ours(packet.destination);
  connects_.begin({packet.source, packet.destination, tcp->source_port, tcp->destination_port},
                  stays ? uint8_t{0} : static_cast<uint8_t>(packet.hop_limit - 1));
  engine_.input(exact);
  connects_.end();
}

void Gateway::take_udp(const GuestPacket& packet, std::span<uint8_t> frame) {
  if (packet.transport.size() < kUdpHeadBytes) return count_drop(DropReason::kMalformed);
  if (!pass_flow(packet) || names_.take(packet, sender())) return;
  const Target target{Protocol::kUdp, packet.destination, read_u16(&packet.transport[2])};
  if (target.address.is_multicast() || network_.is_broadcast(target.address)) return;
  if (is_ours(target.address) && target.port == kPortTftp) {  // there is no TFTP server here
    return refuse(packet, target, own_port_closed(target));
  }
  if (!admit(packet, target) || !admit_query(packet, target)) return;
  input_udp(packet, target, frame);
}

// --- judgement ----------------------------------------------------------------------------------

// Whether a packet may go on to where it is addressed; otherwise it has been answered.
bool Gateway::admit(const GuestPacket& packet, const Target& target) {
  if (is_ours(target.address)) return true;
  if (network_.contains(target.address)) {  // a neighbour of the guest, not ours to reach
    refuse(packet, target, address_on_lan(target));
    return false;
  }
  if (packet.hop_limit <= 1) {
    refuse(packet, target, hop_limit_ended_here());
    return false;
  }
  const RouteVerdict& verdict = verdicts_.judge(target.address, loop_.clock().monotonic_ns());
  if (verdict.reason) {
    refuse(packet, target, *verdict.reason);
    return false;
  }
  const size_t size = packet.ip.size();  // of TCP, the engine makes segments of its own
  if (target.protocol != Protocol::kTcp && packet.stays_whole() && verdict.mtu != 0 &&
      size > verdict.mtu) {
    refuse(packet, target,
           too_big(packet.v6(), size, verdict.mtu, fmt::format("link \"{}\"", verdict.link)));
    return false;
  }
  return true;
}

// See SequenceGuard. What has waited in the engine goes out, or is given up, before the question. A
// segment with a wrong checksum must not ask: the question would make its acknowledgement count.
bool Gateway::admit_sequence(const GuestPacket& packet, const Tcp& tcp) {
  switch (SequenceGuard::judge(tcp)) {
    case SequenceGuard::Ruling::kPass:
      return true;
    case SequenceGuard::Ruling::kRefuse:
      return false;
    case SequenceGuard::Ruling::kAsk:
      break;
  }
  if (transport_checksum(packet.source, packet.destination, kProtocolTcp, packet.transport) != 0) {
    return false;
  }
  engine_.send_waiting(tcp.source_port);
  engine_.input(sequences_.ask(packet, tcp));
  return sequences_.answer();
}

// The DNS address serves names and nothing else.
bool Gateway::admit_query(const GuestPacket& packet, const Target& target) {
  if (!is_nameserver(target.address) || target.port == kPortDns) return true;
  refuse(packet, target, own_port_closed(target));
  return false;
}

void Gateway::refuse(const GuestPacket& packet, const Target& target, const Reason& reason) {
  if (!may_answer_with_error(packet.ip)) return;
  tell(packet.path, own_address(packet.v6()), packet.source, target, reason, packet.ip);
}

// The one way in which a guest learns that something is out of reach, and everybody else with it.
void Gateway::tell(const ReturnPath& path, const IpAddress& sender, const IpAddress& guest,
                   const Target& target, const Reason& reason, std::span<const uint8_t> quoted) {
  const std::string note = reasons_.tell(guest, target, reason);
  const auto words = words_for(reason, guest.v6);
  if (!words) return;
  stage_packet(path, make_icmp_error(sender, guest, words->type, words->code, words->rest, quoted),
               note);
}

// Under whose name the guest hears of an error: a router's own, unless the guest could not make
// sense of that address or would drop it (RFC 1812 §5.3.7).
IpAddress Gateway::routable_sender(const IpAddress& offender) const {
  const bool nonsense = offender.is_loopback() || offender == IpAddress{} || is_guest(offender);
  return nonsense || is_own_address(offender) ? own_address(offender.v6) : offender;
}

// --- out: echo ----------------------------------------------------------------------------------

void Gateway::on_echo_reply(const EchoReply& reply) {
  const auto hops_left = static_cast<uint8_t>(std::max(1, reply.ttl - 1));
  std::vector<uint8_t> packet =
      make_icmp_echo(reply.from, reply.guest, hops_left, true, reply.id, reply.seq, reply.payload);
  if (reply.guest.v6 || packet.size() <= kMtu) return stage_packet(reply.path, packet);
  auto header = parse_ipv4(packet);
  check(header.has_value(), "a packet we made parses");
  header->id = ++ip_id_;
  write_ipv4(*header, packet.data());
  for (const auto& piece : fragment_ipv4(packet, kMtu)) stage_packet(reply.path, piece);
}

void Gateway::on_echo_error(const EchoError& error) {
  const Target target{Protocol::kIcmpEcho, error.destination, 0};
  const bool v6 = error.guest.v6;
  if (error.icmp) {
    return tell(error.path, routable_sender(error.icmp->offender), error.guest, target,
                reachability_.explain(target, *error.icmp), error.quoted);
  }
  tell(error.path, own_address(v6), error.guest, target,
       reachability_.explain(target, error.errno_value, error.syscall), error.quoted);
}

// --- out: the engine ----------------------------------------------------------------------------

void Gateway::on_engine_frame(std::span<const uint8_t> frame, int send_errno) {
  sequences_.observe(frame);
  forwards_.observe(frame);
  frame = guest_forwards_.reword(names_.reword(frame));
  if (connects_.count() != 0 && rework_reset(frame)) return;
  if (rework_loss(frame, send_errno) || rework_error(frame, send_errno)) return;
  if (large_.wants_fragments(frame)) return stage_fragments(frame);
  stage(frame);
}

}  // namespace netstack
