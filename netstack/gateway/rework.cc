// What libslirp tells a guest about failures, put right before the guest sees it.
//
//  - A failed send becomes "net unreachable" whatever errno was: the reason and its code replace
//  it.
//  - A failed connect becomes a RST whatever errno was: unless the far end refused, an ICMP error
//    with the reason replaces it.
//  - Errors relayed from the host's sockets carry whatever address the host knew the sender by,
//    127.0.0.1 for instance, which a guest discards as a martian: an address it knows replaces it.
//    A router's own address stays: traceroute shows it.
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

// An ICMP error on its way to a guest, and the packet of the guest's it quotes.
struct RelayedError {
  ReturnPath path;
  IpAddress sender;
  IpAddress guest;
  IcmpWords words;
  std::span<const uint8_t> quoted;
  Target target;
};

namespace {

// The quoted packet is cut short, so parse_ipv4 would not take it.
bool read_quoted(std::span<const uint8_t> quoted, bool v6, RelayedError& out) {
  const size_t head_bytes = v6 ? kIpv6HeadBytes : kIpv4HeadBytes;
  if (quoted.size() < head_bytes) return false;
  const size_t transport = v6 ? head_bytes : size_t{quoted[0] & 0x0fU} * 4;
  if (quoted.size() < transport + 4) return false;
  const uint8_t protocol = v6 ? quoted[6] : quoted[9];
  out.quoted = quoted;
  out.target = {protocol == kProtocolTcp ? Protocol::kTcp : Protocol::kUdp,
                v6 ? IpAddress::read_v6(&quoted[24]) : IpAddress::read_v4(&quoted[16]),
                read_u16(&quoted[transport + 2])};
  return protocol == kProtocolTcp || protocol == kProtocolUdp;
}

bool is_error(bool v6, uint8_t type) {
  return v6 ? type >= kIcmpv6Unreachable && type <= kIcmpv6ParameterProblem
            : type == kIcmpUnreachable || type == kIcmpTimeExceeded ||
                  type == kIcmpParameterProblem;
}

std::optional<RelayedError> parse_relayed(std::span<const uint8_t> frame) {
  const auto packet = parse_towards_guest(frame);
  if (!packet) return std::nullopt;
  const bool v6 = packet->v6();
  const auto& icmp = packet->transport;
  if (packet->protocol != (v6 ? kProtocolIcmpv6 : kProtocolIcmp) || icmp.size() < kIcmpHeadBytes ||
      !is_error(v6, icmp[0])) {
    return std::nullopt;
  }
  RelayedError relayed{.path = packet->path,
                       .sender = packet->source,
                       .guest = packet->destination,
                       .words = {icmp[0], icmp[1], read_u32(&icmp[4])},
                       .quoted = {},
                       .target = {}};
  if (!read_quoted(icmp.subspan(kIcmpHeadBytes), v6, relayed)) return std::nullopt;
  return relayed;
}

IpAddress loopback(bool v6) {
  static const IpAddress kLoopback4 = *IpAddress::parse("127.0.0.1");
  static const IpAddress kLoopback6 = *IpAddress::parse("::1");
  return v6 ? kLoopback6 : kLoopback4;
}

}  // namespace

// True: the frame has been replaced.
bool Gateway::rework_error(std::span<const uint8_t> frame, int send_errno) {
  const auto relayed = parse_relayed(frame);
  if (!relayed) return false;
  if (!is_ours(relayed->sender)) {
    pass_on(*relayed);
    return true;
  }
  if (send_errno == 0) return false;  // nothing is known that the engine did not say
  tell(relayed->path, own_address(relayed->guest.v6), relayed->guest, relayed->target,
       reachability_.explain(on_host(relayed->target), send_errno), relayed->quoted);
  return true;
}

// An error that came to one of the engine's sockets. The engine loses the MTU of "too big"; the
// kernel has learned it by now.
void Gateway::pass_on(const RelayedError& relayed) {
  const Target& target = relayed.target;
  const Target judged = on_host(target);
  PathError error{relayed.words, relayed.sender, 0};
  if (is_too_big(target.address.v6, error.words)) {
    error.words = too_big_words(target.address.v6, reachability_.judge_route(judged.address).mtu);
  }
  const IpAddress sender =
      is_ours(target.address) ? target.address : routable_sender(relayed.sender);
  tell(relayed.path, sender, relayed.guest, target, reachability_.explain(judged, error),
       relayed.quoted);
}

// The gateway's own address stands for the host's loopback.
Target Gateway::on_host(Target target) const {
  if (is_ours(target.address)) target.address = loopback(target.address.v6);
  return target;
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
  tell(packet->path, own_address(guest.v6), guest, target,
       reachability_.explain(on_host(target), connect_errno), syn);
  return true;
}

}  // namespace netstack
