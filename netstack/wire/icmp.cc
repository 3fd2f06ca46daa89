#include "netstack/wire/icmp.h"

#include <algorithm>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/checksum.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"

namespace netstack {

namespace {

constexpr uint8_t kTosInternetworkControl = 0xc0;  // RFC 1812 §4.3.2.5: precedence of errors

struct MessageHead {
  uint8_t type;
  uint8_t code;
  uint32_t rest;
};

size_t ip_head_bytes(bool v6) {
  return v6 ? kIpv6HeadBytes : kIpv4HeadBytes;
}

void write_ip_head(const IpAddress& source, const IpAddress& destination, uint8_t tos, uint8_t ttl,
                   size_t packet_bytes, uint8_t* out) {
  if (source.v6) {
    write_ipv6({.traffic_class = tos,
                .payload_bytes = static_cast<uint16_t>(packet_bytes - kIpv6HeadBytes),
                .next_header = kProtocolIcmpv6,
                .hop_limit = ttl,
                .source = source,
                .destination = destination},
               out);
    return;
  }
  // "Don't fragment" makes the packet atomic, and an atomic packet needs no id (RFC 6864 §4.1).
  write_ipv4({.tos = tos,
              .dont_fragment = true,
              .ttl = ttl,
              .protocol = kProtocolIcmp,
              .source = source,
              .destination = destination,
              .total_bytes = static_cast<uint16_t>(packet_bytes)},
             out);
}

std::vector<uint8_t> make_packet(const IpAddress& source, const IpAddress& destination, uint8_t tos,
                                 uint8_t ttl, const MessageHead& head,
                                 std::span<const uint8_t> body) {
  check(source.v6 == destination.v6, "an ICMP packet has addresses of one family");
  const size_t ip_bytes = ip_head_bytes(source.v6);
  std::vector<uint8_t> packet(ip_bytes + kIcmpHeadBytes + body.size());
  check(packet.size() <= kIpv4PacketBytesMax, "an ICMP packet fits an IP packet");
  write_ip_head(source, destination, tos, ttl, packet.size(), packet.data());

  const std::span<uint8_t> message = std::span(packet).subspan(ip_bytes);
  message[0] = head.type;
  message[1] = head.code;
  write_u32(&message[4], head.rest);
  std::copy(body.begin(), body.end(), message.begin() + kIcmpHeadBytes);
  write_u16(&message[2], source.v6
                             ? transport_checksum(source, destination, kProtocolIcmpv6, message)
                             : internet_checksum(message));
  return packet;
}

// The offending packet without link-layer padding, or as it is when its header makes no sense.
std::span<const uint8_t> without_padding(std::span<const uint8_t> packet) {
  if (const auto ip4 = parse_ipv4(packet)) return packet.first(ip4->total_bytes);
  if (const auto ip6 = parse_ipv6(packet)) return packet.first(kIpv6HeadBytes + ip6->payload_bytes);
  return packet;
}

// Types that ask or answer, RFC 1122 §3.2.2 and RFC 950; an unknown type might be an error.
bool is_icmp_query(uint8_t type) {
  return type == kIcmpEchoReply || type == kIcmpEchoRequest || type == 9 || type == 10 ||
         (type >= 13 && type <= 18);
}

bool is_icmpv6_query(uint8_t type) {
  return type >= 128 && type != kIcmpv6Redirect;  // RFC 4443 §2.1: errors have the high bit zero
}

bool is_unspecified(const IpAddress& address) {
  return std::ranges::all_of(address.octets, [](uint8_t octet) { return octet == 0; });
}

// RFC 1122 §3.2.1.3: 0.0.0.0/8, 127.0.0.0/8, groups, and 240.0.0.0/4 with the broadcast address.
bool is_one_ipv4_host(const IpAddress& address) {
  return address.octets[0] != 0 && !address.is_loopback() && address.octets[0] < 224;
}

bool may_answer_ipv4(const Ipv4& ip, std::span<const uint8_t> packet) {
  const bool to_group = ip.destination.octets[0] >= 224;  // multicast, reserved, broadcast
  if (to_group || ip.fragment_offset != 0 || !is_one_ipv4_host(ip.source)) return false;
  if (ip.protocol != kProtocolIcmp) return true;
  const std::span<const uint8_t> message = ipv4_payload(ip, packet);
  return !message.empty() && is_icmp_query(message[0]);
}

bool may_answer_ipv6(const Ipv6& ip, std::span<const uint8_t> packet) {
  if (ip.destination.is_multicast() || ip.source.is_multicast()) return false;
  if (is_unspecified(ip.source) || ip.source.is_loopback()) return false;
  const std::optional<Ipv6Upper> upper = skip_extensions(packet);
  if (!upper || upper->fragment_offset != 0) return false;
  if (upper->next_header != kProtocolIcmpv6) return true;
  const std::span<const uint8_t> message = ipv6_payload(ip, *upper, packet);
  return !message.empty() && is_icmpv6_query(message[0]);
}

}  // namespace

std::optional<IcmpEcho> parse_icmp_echo(std::span<const uint8_t> message, bool v6) {
  if (message.size() < kIcmpHeadBytes || message[1] != 0) return std::nullopt;
  const bool request = message[0] == (v6 ? kIcmpv6EchoRequest : kIcmpEchoRequest);
  const bool reply = message[0] == (v6 ? kIcmpv6EchoReply : kIcmpEchoReply);
  if (!request && !reply) return std::nullopt;
  return IcmpEcho{.reply = reply,
                  .id = read_u16(&message[4]),
                  .seq = read_u16(&message[6]),
                  .payload = message.subspan(kIcmpHeadBytes)};
}

bool icmp_checksum_valid(std::span<const uint8_t> message) {
  return internet_checksum(message) == 0;
}

bool icmpv6_checksum_valid(const IpAddress& source, const IpAddress& destination,
                           std::span<const uint8_t> message) {
  return transport_checksum(source, destination, kProtocolIcmpv6, message) == 0;
}

std::vector<uint8_t> make_icmp_echo(const IpAddress& source, const IpAddress& destination,
                                    uint8_t ttl, bool reply, uint16_t id, uint16_t seq,
                                    std::span<const uint8_t> payload) {
  const uint8_t type = source.v6 ? (reply ? kIcmpv6EchoReply : kIcmpv6EchoRequest)
                                 : (reply ? kIcmpEchoReply : kIcmpEchoRequest);
  const MessageHead head{.type = type, .code = 0, .rest = uint32_t{id} << 16U | seq};
  return make_packet(source, destination, 0, ttl, head, payload);
}

std::vector<uint8_t> make_icmp_error(const IpAddress& source, const IpAddress& destination,
                                     uint8_t type, uint8_t code, uint32_t rest_of_header,
                                     std::span<const uint8_t> offending_packet, uint8_t ttl) {
  const size_t packet_bytes_max = source.v6 ? kIcmpv6ErrorBytesMax : kIcmpErrorBytesMax;
  const size_t quote_bytes_max = packet_bytes_max - ip_head_bytes(source.v6) - kIcmpHeadBytes;
  const std::span<const uint8_t> whole = without_padding(offending_packet);
  const std::span<const uint8_t> quote = whole.first(std::min(whole.size(), quote_bytes_max));
  const uint8_t tos = source.v6 ? uint8_t{0} : kTosInternetworkControl;
  return make_packet(source, destination, tos, ttl,
                     {.type = type, .code = code, .rest = rest_of_header}, quote);
}

bool may_answer_with_error(std::span<const uint8_t> ip_packet) {
  if (const auto ip4 = parse_ipv4(ip_packet)) return may_answer_ipv4(*ip4, ip_packet);
  if (const auto ip6 = parse_ipv6(ip_packet)) return may_answer_ipv6(*ip6, ip_packet);
  return false;
}

}  // namespace netstack
