// What libslirp tells a guest about failures, put right before the guest sees it.
//
//  - A failed send becomes "net unreachable" whatever errno was: the reason and its code replace
//  it.
//  - A failed connect becomes a RST whatever errno was: unless the far end refused, an ICMP error
//  with
//    the reason replaces it.
//  - Errors relayed from the host's sockets carry whatever address the host knew the sender by,
//  127.0.0.1
//    for instance, which a guest discards as a martian: the address the guest had sent to replaces
//    it.
#include <cerrno>

#include "netstack/base/bytes.h"
#include "netstack/gateway/gateway.h"
#include "netstack/gateway/own_address.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"

namespace netstack {

namespace {

constexpr uint8_t kCodeNet = 0;  // RFC 792, of type 3
constexpr uint8_t kCodeHost = 1;
constexpr uint8_t kCodeNoRoute6 = 0;  // RFC 4443 §3.1
constexpr uint8_t kCodeAddress6 = 3;

// An ICMP error on its way to a guest, and the packet of the guest's it quotes.
struct Relayed {
  ReturnPath path;
  IpAddress sender;
  IpAddress guest;
  uint8_t type;
  uint8_t code;
  uint32_t rest;
  std::span<const uint8_t> quoted;
  IpAddress quoted_destination;
  uint8_t quoted_protocol;
  uint16_t quoted_port;

  Target target() const {
    return {quoted_protocol == kProtocolTcp ? Protocol::kTcp : Protocol::kUdp, quoted_destination,
            quoted_port};
  }
};

// The quoted packet is cut short, so parse_ipv4 would not take it.
bool read_quoted(std::span<const uint8_t> quoted, bool v6, Relayed& out) {
  const size_t head_bytes = v6 ? kIpv6HeadBytes : kIpv4HeadBytes;
  if (quoted.size() < head_bytes) return false;
  const size_t transport = v6 ? head_bytes : size_t{quoted[0] & 0x0fU} * 4;
  if (quoted.size() < transport + 4) return false;
  out.quoted = quoted;
  out.quoted_destination = v6 ? IpAddress::read_v6(&quoted[24]) : IpAddress::read_v4(&quoted[16]);
  out.quoted_protocol = v6 ? quoted[6] : quoted[9];
  out.quoted_port = read_u16(&quoted[transport + 2]);
  return out.quoted_protocol == kProtocolTcp || out.quoted_protocol == kProtocolUdp;
}

std::optional<Relayed> parse_relayed(std::span<const uint8_t> frame) {
  const auto packet = parse_towards_guest(frame);
  if (!packet) return std::nullopt;
  const bool v6 = packet->v6();
  const auto& icmp = packet->transport;
  if (packet->protocol != (v6 ? kProtocolIcmpv6 : kProtocolIcmp) || icmp.size() < kIcmpHeadBytes ||
      icmp[0] != (v6 ? kIcmpv6Unreachable : kIcmpUnreachable)) {
    return std::nullopt;
  }
  Relayed relayed{.path = packet->path,
                  .sender = packet->source,
                  .guest = packet->destination,
                  .type = icmp[0],
                  .code = icmp[1],
                  .rest = read_u32(&icmp[4]),
                  .quoted = {},
                  .quoted_destination = {},
                  .quoted_protocol = 0,
                  .quoted_port = 0};
  if (!read_quoted(icmp.subspan(kIcmpHeadBytes), v6, relayed)) return std::nullopt;
  return relayed;
}

bool says_no_way(const Relayed& relayed) {
  return relayed.guest.v6 ? relayed.code == kCodeNoRoute6 || relayed.code == kCodeAddress6
                          : relayed.code == kCodeNet || relayed.code == kCodeHost;
}

}  // namespace

// True: the frame has been replaced.
bool Gateway::rework_error(std::span<const uint8_t> frame, int send_errno) {
  const auto relayed = parse_relayed(frame);
  if (!relayed) return false;
  const bool v6 = relayed->guest.v6;
  const Target target = relayed->target();
  const bool engines_own = is_ours(relayed->sender);
  const bool from_this_host = !engines_own && is_own_address(relayed->sender);

  if ((engines_own || from_this_host) && says_no_way(*relayed)) {
    const int errno_value = engines_own ? send_errno : EHOSTUNREACH;
    if (errno_value == 0) return false;  // nothing is known that the engine did not say
    const Reason reason = reachability_.explain(target, errno_value);
    const std::string note = reasons_.say(relayed->guest, target, reason);
    const IcmpAnswer& answer = cause_row(reason.cause).answer;
    stage_packet(relayed->path,
                 make_icmp_error(own_address(v6), relayed->guest, relayed->type,
                                 v6 ? answer.code6 : answer.code4, 0, relayed->quoted),
                 note);
    return true;
  }
  const bool asked_us = is_ours(target.address);
  if (engines_own || (!from_this_host && !asked_us)) return false;

  const IpAddress sender = asked_us ? target.address : own_address(v6);
  stage_packet(relayed->path, make_icmp_error(sender, relayed->guest, relayed->type, relayed->code,
                                              relayed->rest, relayed->quoted));
  return true;
}

// A RST that stands for a connect that failed with `connect_errno`. True: replaced.
bool Gateway::rework_reset(std::span<const uint8_t> frame, int connect_errno) {
  if (connect_errno == ECONNREFUSED || connect_errno == ECONNRESET) return false;  // RST is right
  const auto packet = parse_towards_guest(frame);
  if (!packet || packet->protocol != kProtocolTcp) return false;
  const auto reset = parse_tcp(packet->transport);
  if (!reset || (reset->flags & kTcpRst) == 0) return false;

  // Quote the SYN: it is gone, but the RST acknowledges it and so holds all that names the flow.
  const IpAddress& guest = packet->destination;
  const IpAddress& server = packet->source;
  std::vector<uint8_t> syn(guest.v6 ? kIpv6HeadBytes : kIpv4HeadBytes);
  if (guest.v6) {
    Ipv6 ip;
    ip.payload_bytes = kTcpHeadBytes;
    ip.next_header = kProtocolTcp;
    ip.source = guest;
    ip.destination = server;
    write_ipv6(ip, syn.data());
  } else {
    Ipv4 ip;
    ip.protocol = kProtocolTcp;
    ip.source = guest;
    ip.destination = server;
    ip.total_bytes = static_cast<uint16_t>(kIpv4HeadBytes + kTcpHeadBytes);
    write_ipv4(ip, syn.data());
  }
  Tcp tcp;
  tcp.source_port = reset->destination_port;
  tcp.destination_port = reset->source_port;
  tcp.seq = reset->ack - 1;
  tcp.flags = kTcpSyn;
  const size_t at = syn.size();
  syn.resize(at + kTcpHeadBytes);
  write_tcp(tcp, syn.data() + at);

  const Target target{Protocol::kTcp, server, tcp.destination_port};
  const Reason reason = reachability_.explain(target, connect_errno);
  const std::string note = reasons_.say(guest, target, reason);
  const IcmpAnswer& answer = cause_row(reason.cause).answer;
  stage_packet(packet->path,
               make_icmp_error(own_address(guest.v6), guest,
                               guest.v6 ? kIcmpv6Unreachable : kIcmpUnreachable,
                               guest.v6 ? answer.code6 : answer.code4, 0, syn),
               note);
  return true;
}

}  // namespace netstack
