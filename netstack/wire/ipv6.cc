#include "netstack/wire/ipv6.h"

#include <cstring>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"

namespace netstack {

namespace {

constexpr size_t kExtensionUnitBytes = 8;  // every extension header is a multiple of it
constexpr uint16_t kFragmentOffsetMask = 0xfff8;
constexpr uint16_t kMoreFragments = 0x0001;

bool is_extension(uint8_t next_header) {
  return next_header == kNextHopByHop || next_header == kNextRouting ||
         next_header == kNextFragment || next_header == kNextDestinationOptions;
}

// Takes one extension header of at least kExtensionUnitBytes at upper.offset.
void step_over(const uint8_t* extension, Ipv6Upper& upper) {
  size_t bytes = (size_t{extension[1]} + 1) * kExtensionUnitBytes;
  if (upper.next_header == kNextFragment) {
    bytes = kExtensionUnitBytes;  // the length byte is reserved there
    const uint16_t offset_and_flags = read_u16(extension + 2);
    upper.fragment = true;
    upper.fragment_offset = offset_and_flags & kFragmentOffsetMask;
    upper.more_fragments = (offset_and_flags & kMoreFragments) != 0;
  }
  upper.next_header = extension[0];
  upper.offset += bytes;
}

}  // namespace

std::optional<Ipv6> parse_ipv6(std::span<const uint8_t> packet) {
  if (packet.size() < kIpv6HeadBytes || packet[0] >> 4U != 6) return std::nullopt;
  const uint32_t first_word = read_u32(packet.data());
  Ipv6 ip;
  ip.traffic_class = static_cast<uint8_t>(first_word >> 20U);
  ip.flow_label = first_word & 0xfffffU;
  ip.payload_bytes = read_u16(&packet[4]);
  if (ip.payload_bytes > packet.size() - kIpv6HeadBytes) return std::nullopt;
  ip.next_header = packet[6];
  ip.hop_limit = packet[7];
  ip.source = IpAddress::read_v6(&packet[8]);
  ip.destination = IpAddress::read_v6(&packet[24]);
  return ip;
}

void write_ipv6(const Ipv6& ip, uint8_t* out) {
  check(ip.source.v6 && ip.destination.v6, "an IPv6 header holds IPv6 addresses");
  write_u32(out, 6U << 28U | uint32_t{ip.traffic_class} << 20U | (ip.flow_label & 0xfffffU));
  write_u16(out + 4, ip.payload_bytes);
  out[6] = ip.next_header;
  out[7] = ip.hop_limit;
  std::memcpy(out + 8, ip.source.octets.data(), 16);
  std::memcpy(out + 24, ip.destination.octets.data(), 16);
}

std::optional<Ipv6Upper> skip_extensions(std::span<const uint8_t> packet) {
  const std::optional<Ipv6> ip = parse_ipv6(packet);
  if (!ip) return std::nullopt;
  const size_t end = kIpv6HeadBytes + ip->payload_bytes;
  Ipv6Upper upper{.next_header = ip->next_header, .offset = kIpv6HeadBytes};
  for (unsigned count = 0; is_extension(upper.next_header); ++count) {
    if (upper.fragment_offset != 0) return upper;
    if (count == kExtensionHeadersMax || end - upper.offset < kExtensionUnitBytes) {
      return std::nullopt;
    }
    step_over(&packet[upper.offset], upper);
    if (upper.offset > end) return std::nullopt;
  }
  return upper;
}

std::span<const uint8_t> ipv6_payload(const Ipv6& ip, const Ipv6Upper& upper,
                                      std::span<const uint8_t> packet) {
  const size_t end = kIpv6HeadBytes + ip.payload_bytes;
  check(upper.offset <= end && end <= packet.size(),
        "an IPv6 payload is asked of the packet its header came from");
  return packet.subspan(upper.offset, end - upper.offset);
}

}  // namespace netstack
