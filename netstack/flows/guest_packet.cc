#include "netstack/flows/guest_packet.h"

#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/frame/frame.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"

namespace netstack {

std::optional<GuestPacket> parse_guest_packet(std::span<uint8_t> frame) {
  if (frame.size() < kEthernetHeadBytes) return std::nullopt;
  GuestPacket packet;
  packet.path = {.guest = Mac::read(&frame[6]), .gateway = Mac::read(frame.data())};
  const uint16_t ethertype = read_u16(&frame[12]);
  const std::span<uint8_t> ip = frame.subspan(kEthernetHeadBytes);

  if (ethertype == kEthertypeIpv4) {
    const auto header = parse_ipv4(ip);
    if (!header) return std::nullopt;
    packet.source = header->source;
    packet.destination = header->destination;
    packet.hop_limit = header->ttl;
    packet.protocol = header->protocol;
    packet.fragment = header->is_fragment();
    packet.ip = ip.first(header->total_bytes);
    packet.transport = packet.ip.subspan(header->header_bytes);
    return packet;
  }
  if (ethertype == kEthertypeIpv6) {
    const auto header = parse_ipv6(ip);
    if (!header) return std::nullopt;
    packet.source = header->source;
    packet.destination = header->destination;
    packet.hop_limit = header->hop_limit;
    packet.protocol = header->next_header;
    packet.ip = ip.first(kIpv6HeadBytes + header->payload_bytes);
    packet.transport = packet.ip.subspan(kIpv6HeadBytes);
    return packet;
  }
  return std::nullopt;
}

std::optional<GuestPacket> parse_towards_guest(std::span<const uint8_t> frame) {
  auto packet = parse_guest_packet({const_cast<uint8_t*>(frame.data()), frame.size()});
  if (packet) std::swap(packet->path.guest, packet->path.gateway);
  return packet;
}

}  // namespace netstack
