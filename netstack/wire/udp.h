#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

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

}  // namespace netstack
