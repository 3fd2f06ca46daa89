#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "netstack/wire/ip_address.h"

namespace netstack {

// Assigned Internet protocol numbers, of IPv4's protocol field and IPv6's next header.
constexpr uint8_t kProtocolIcmp = 1;
constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;
constexpr uint8_t kProtocolIcmpv6 = 58;

constexpr size_t kIpv4HeadBytes = 20;  // without options
constexpr size_t kIpv4PacketBytesMax = 65'535;

// The IPv4 header, RFC 791 §3.1.
struct Ipv4 {
  uint8_t tos = 0;
  uint16_t id = 0;
  bool dont_fragment = false;
  bool more_fragments = false;
  uint16_t fragment_offset = 0;  // bytes, a multiple of 8
  uint8_t ttl = 64;
  uint8_t protocol = 0;
  IpAddress source{};
  IpAddress destination{};
  uint8_t header_bytes = kIpv4HeadBytes;  // options included
  uint16_t total_bytes = 0;               // header included, link-layer padding not

  bool is_fragment() const { return more_fragments || fragment_offset != 0; }
};

// `packet` begins at the header and may be longer than the packet (Ethernet padding). Nothing: not
// version 4, a header or length outside the packet, or a wrong header checksum.
std::optional<Ipv4> parse_ipv4(std::span<const uint8_t> packet);

// What the header carries: `packet` without header and padding. `ip` comes from parse_ipv4(packet).
std::span<const uint8_t> ipv4_payload(const Ipv4& ip, std::span<const uint8_t> packet);

// Writes kIpv4HeadBytes with their checksum; there are no options whatever ip.header_bytes says.
void write_ipv4(const Ipv4& ip, uint8_t* out);

}  // namespace netstack
