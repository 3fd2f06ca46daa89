#include "netstack/flows/flow.h"

#include <array>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/reachability/icmp_words.h"
#include "netstack/wire/dhcpv6.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"

namespace netstack {

namespace {

// The ports of TCP and UDP, or the id of an echo, from the first bytes of a transport header.
bool read_ports(std::span<const uint8_t> transport, uint8_t protocol, bool from_guest,
                FlowKey& key) {
  const bool tcp = protocol == kProtocolTcp;
  if (tcp || protocol == kProtocolUdp) {
    key.protocol = tcp ? Protocol::kTcp : Protocol::kUdp;
    key.guest_port = read_u16(&transport[from_guest ? 0 : 2]);
    key.peer_port = read_u16(&transport[from_guest ? 2 : 0]);
    return true;
  }
  if (protocol != (key.guest.v6 ? kProtocolIcmpv6 : kProtocolIcmp)) return false;
  const uint8_t request = key.guest.v6 ? kIcmpv6EchoRequest : kIcmpEchoRequest;
  const uint8_t reply = key.guest.v6 ? kIcmpv6EchoReply : kIcmpEchoReply;
  if (transport[0] != (from_guest ? request : reply)) return false;
  key.protocol = Protocol::kIcmpEcho;
  key.guest_port = read_u16(&transport[4]);
  return true;
}

bool is_dhcp(const FlowKey& key) {
  if (key.protocol != Protocol::kUdp) return false;
  return key.guest.v6 ? key.peer_port == kPortDhcpv6Server
                      : key.peer_port == kPortDhcpServer && key.guest_port == kPortDhcpClient;
}

}  // namespace

std::string_view flow_state_name(FlowState state) {
  constexpr std::array<std::string_view, static_cast<size_t>(FlowState::kCount)> kNames = {
      "opening", "established", "closed", "refused", "unreachable", "denied", "timed-out"};
  const auto at = static_cast<size_t>(state);
  check(at < kNames.size(), "a flow's state has a name");
  return kNames[at];
}

std::optional<FlowPacket> read_flow_packet(const GuestPacket& packet, bool from_guest) {
  if (packet.fragment || packet.transport.size() < kUdpHeadBytes) return std::nullopt;
  FlowPacket out;
  out.key.guest = from_guest ? packet.source : packet.destination;
  out.key.peer = from_guest ? packet.destination : packet.source;
  if (!read_ports(packet.transport, packet.protocol, from_guest, out.key)) return std::nullopt;
  out.bytes = static_cast<uint16_t>(packet.ip.size());
  if (out.key.protocol != Protocol::kTcp) {
    out.opens = out.key.protocol == Protocol::kUdp || from_guest;
    if (is_dhcp(out.key)) return std::nullopt;
    return out;
  }
  const auto tcp = parse_tcp(packet.transport);
  if (!tcp) return std::nullopt;
  out.tcp_flags = tcp->flags;
  out.opens = (tcp->flags & (kTcpSyn | kTcpAck | kTcpRst)) == kTcpSyn;
  const bool counts = (tcp->flags & (kTcpSyn | kTcpFin)) != 0;  // takes a number, RFC 9293 §3.4
  out.tcp_next = tcp->seq + static_cast<uint32_t>(tcp->payload.size()) + (counts ? 1U : 0U);
  out.tcp_ack = tcp->ack;
  return out;
}

std::optional<FlowError> read_flow_error(const GuestPacket& packet) {
  const bool v6 = packet.v6();
  const auto& icmp = packet.transport;
  if (packet.protocol != (v6 ? kProtocolIcmpv6 : kProtocolIcmp) || packet.fragment ||
      icmp.size() < kIcmpHeadBytes) {
    return std::nullopt;
  }
  const IcmpWords words{icmp[0], icmp[1], 0};
  const bool hop_limit = is_time_exceeded(v6, words);
  const bool unreachable = words.type == (v6 ? kIcmpv6Unreachable : kIcmpUnreachable);
  if (!unreachable && !hop_limit && !is_too_big(v6, words)) return std::nullopt;
  const std::span<const uint8_t> quoted = icmp.subspan(kIcmpHeadBytes);
  if (quoted.size() < kIpv4HeadBytes || (v6 && quoted.size() < kIpv6HeadBytes)) return std::nullopt;
  const size_t head_bytes = v6 ? kIpv6HeadBytes : size_t{quoted[0] & 0x0fU} * 4;
  if (quoted.size() < head_bytes + kUdpHeadBytes) return std::nullopt;
  FlowError error{.key = {}, .refused = is_port_unreachable(v6, words), .hop_limit = hop_limit};
  error.key.guest = v6 ? IpAddress::read_v6(&quoted[8]) : IpAddress::read_v4(&quoted[12]);
  error.key.peer = v6 ? IpAddress::read_v6(&quoted[24]) : IpAddress::read_v4(&quoted[16]);
  if (!read_ports(quoted.subspan(head_bytes), quoted[v6 ? 6 : 9], true, error.key)) {
    return std::nullopt;
  }
  return error;
}

}  // namespace netstack
