#include "netstack/wire/ipv4.h"

#include <cstring>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/checksum.h"

namespace netstack {

namespace {

constexpr uint16_t kDontFragment = 0x4000;
constexpr uint16_t kMoreFragments = 0x2000;
constexpr uint16_t kOffsetMask = 0x1fff;  // in units of 8 bytes

}  // namespace

std::optional<Ipv4> parse_ipv4(std::span<const uint8_t> packet) {
  if (packet.size() < kIpv4HeadBytes || packet[0] >> 4U != 4) return std::nullopt;
  Ipv4 ip;
  ip.header_bytes = static_cast<uint8_t>((packet[0] & 0x0fU) * 4);
  ip.total_bytes = read_u16(&packet[2]);
  if (ip.header_bytes < kIpv4HeadBytes || ip.total_bytes < ip.header_bytes) return std::nullopt;
  if (ip.total_bytes > packet.size()) return std::nullopt;
  if (internet_checksum(packet.first(ip.header_bytes)) != 0) return std::nullopt;

  const uint16_t flags_and_offset = read_u16(&packet[6]);
  ip.tos = packet[1];
  ip.id = read_u16(&packet[4]);
  ip.dont_fragment = (flags_and_offset & kDontFragment) != 0;
  ip.more_fragments = (flags_and_offset & kMoreFragments) != 0;
  ip.fragment_offset = static_cast<uint16_t>((flags_and_offset & kOffsetMask) * 8);
  ip.ttl = packet[8];
  ip.protocol = packet[9];
  ip.source = IpAddress::read_v4(&packet[12]);
  ip.destination = IpAddress::read_v4(&packet[16]);
  return ip;
}

std::span<const uint8_t> ipv4_payload(const Ipv4& ip, std::span<const uint8_t> packet) {
  check(ip.header_bytes <= ip.total_bytes && ip.total_bytes <= packet.size(),
        "an IPv4 payload is asked of the packet its header came from");
  return packet.subspan(ip.header_bytes, ip.total_bytes - ip.header_bytes);
}

void write_ipv4(const Ipv4& ip, uint8_t* out) {
  check(!ip.source.v6 && !ip.destination.v6, "an IPv4 header holds IPv4 addresses");
  check(ip.fragment_offset % 8 == 0, "a fragment begins at a multiple of 8 bytes");
  const auto flags_and_offset =
      static_cast<uint16_t>((ip.dont_fragment ? kDontFragment : 0) |
                            (ip.more_fragments ? kMoreFragments : 0) | ip.fragment_offset / 8);
  out[0] = 4U << 4U | kIpv4HeadBytes / 4;
  out[1] = ip.tos;
  write_u16(out + 2, ip.total_bytes);
  write_u16(out + 4, ip.id);
  write_u16(out + 6, flags_and_offset);
  out[8] = ip.ttl;
  out[9] = ip.protocol;
  write_u16(out + 10, 0);
  std::memcpy(out + 12, ip.source.octets.data(), 4);
  std::memcpy(out + 16, ip.destination.octets.data(), 4);
  write_u16(out + 10, internet_checksum({out, kIpv4HeadBytes}));
}

}  // namespace netstack
