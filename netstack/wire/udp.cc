#include "netstack/wire/udp.h"

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"

namespace netstack {

std::optional<Udp> parse_udp(std::span<const uint8_t> segment) {
  if (segment.size() < kUdpHeadBytes) return std::nullopt;
  Udp udp;
  udp.length = read_u16(&segment[4]);
  if (udp.length < kUdpHeadBytes || udp.length > segment.size()) return std::nullopt;
  udp.source_port = read_u16(&segment[0]);
  udp.destination_port = read_u16(&segment[2]);
  udp.checksum = read_u16(&segment[6]);
  udp.payload = segment.subspan(kUdpHeadBytes, udp.length - kUdpHeadBytes);
  return udp;
}

void write_udp(const Udp& udp, uint8_t* out) {
  write_u16(out, udp.source_port);
  write_u16(out + 2, udp.destination_port);
  write_u16(out + 4, udp.length);
  write_u16(out + 6, udp.checksum);
}

std::vector<uint8_t> make_udp_packet(const IpAddress& source, uint16_t source_port,
                                     const IpAddress& destination, uint16_t destination_port,
                                     std::span<const uint8_t> payload, uint8_t ttl) {
  check(source.v6 == destination.v6, "a packet's addresses are of one family");
  const size_t head_bytes = source.v6 ? kIpv6HeadBytes : kIpv4HeadBytes;
  check(payload.size() + kUdpHeadBytes + head_bytes <= kIpv4PacketBytesMax, "a datagram fits");
  std::vector<uint8_t> packet(head_bytes + kUdpHeadBytes);
  packet.insert(packet.end(), payload.begin(), payload.end());
  Udp udp;
  udp.source_port = source_port;
  udp.destination_port = destination_port;
  udp.length = static_cast<uint16_t>(kUdpHeadBytes + payload.size());
  if (source.v6) {
    Ipv6 ip;
    ip.payload_bytes = udp.length;
    ip.next_header = kProtocolUdp;
    ip.hop_limit = ttl;
    ip.source = source;
    ip.destination = destination;
    write_ipv6(ip, packet.data());
  } else {
    Ipv4 ip;
    ip.ttl = ttl;
    ip.protocol = kProtocolUdp;
    ip.source = source;
    ip.destination = destination;
    ip.total_bytes = static_cast<uint16_t>(packet.size());
    write_ipv4(ip, packet.data());
  }
  const std::span<uint8_t> segment = std::span(packet).subspan(head_bytes);
  write_udp(udp, segment.data());
  const uint16_t sum = transport_checksum(source, destination, kProtocolUdp, segment);
  udp.checksum = sum == 0 ? uint16_t{0xffff} : sum;  // 0 means "none", RFC 768
  write_udp(udp, segment.data());
  return packet;
}

bool udp_checksum_valid(const IpAddress& source, const IpAddress& destination,
                        std::span<const uint8_t> segment) {
  const auto datagram = segment.first(read_u16(&segment[4]));
  if (read_u16(&segment[6]) == 0) return !source.v6;  // RFC 8200 §8.1
  return transport_checksum(source, destination, kProtocolUdp, datagram) == 0;
}

}  // namespace netstack
