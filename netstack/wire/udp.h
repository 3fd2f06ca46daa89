#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/wire/pseudo_header.h"

namespace netstack {

constexpr size_t kUdpHeadBytes = 8;
constexpr uint16_t kPortDns = 53;
constexpr uint16_t kPortDhcpServer = 67;
constexpr uint16_t kPortDhcpClient = 68;

// A UDP datagram, RFC 768.
struct Udp {
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint16_t length = 0;                 // bytes, header included
  uint16_t checksum = 0;               // 0: none, legal in IPv4 only
  std::span<const uint8_t> payload{};  // a view of the segment it was parsed from
};

// `segment` begins at the header and may be longer than `length`. Nothing: cut short, or a length
// that does not even hold the header. The checksum is the caller's to verify (transport_checksum).
std::optional<Udp> parse_udp(std::span<const uint8_t> segment);

void write_udp(const Udp& udp, uint8_t* out);  // the header alone, checksum as given

// A whole IP packet of the addresses' family around `payload`, which is at most 65507 bytes.
std::vector<uint8_t> make_udp_packet(const IpAddress& source, uint16_t source_port,
                                     const IpAddress& destination, uint16_t destination_port,
                                     std::span<const uint8_t> payload, uint8_t ttl = 64);

// Whether the checksum of a datagram that parse_udp() took is right, or left out where it may be.
bool udp_checksum_valid(const IpAddress& source, const IpAddress& destination,
                        std::span<const uint8_t> segment);

}  // namespace netstack
