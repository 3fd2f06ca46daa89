#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/wire/ip_address.h"
#include "netstack/wire/pseudo_header.h"

namespace netstack {

constexpr size_t kTcpHeadBytes = 20;  // without options

constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpSyn = 0x02;
constexpr uint8_t kTcpRst = 0x04;
constexpr uint8_t kTcpPsh = 0x08;
constexpr uint8_t kTcpAck = 0x10;
constexpr uint8_t kTcpUrg = 0x20;
constexpr uint8_t kTcpEce = 0x40;
constexpr uint8_t kTcpCwr = 0x80;

// A TCP segment, RFC 9293 §3.1.
struct Tcp {
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint32_t seq = 0;
  uint32_t ack = 0;
  uint8_t header_bytes = kTcpHeadBytes;  // options included
  uint8_t flags = 0;
  uint16_t window = 0;
  uint16_t checksum = 0;
  uint16_t urgent = 0;
  std::span<const uint8_t> payload{};  // a view of the segment it was parsed from
};

// Nothing: cut short, or a data offset outside the segment. The checksum is the caller's to verify
// (transport_checksum).
std::optional<Tcp> parse_tcp(std::span<const uint8_t> segment);

// Writes kTcpHeadBytes without options, checksum as given.
void write_tcp(const Tcp& tcp, uint8_t* out);

// A whole IP packet of the addresses' family with a segment that has neither options nor data;
// `tcp`'s checksum is filled in.
std::vector<uint8_t> make_tcp_packet(const IpAddress& source, const IpAddress& destination,
                                     const Tcp& tcp);

// Takes URG and the urgent pointer out of a segment and corrects its checksum by the difference
// (RFC 1624 §3), so a segment with a wrong checksum keeps a wrong one. The checksum must be whole:
// finish a partial one first. True: something was changed. False: nothing to clear, or the segment
// is shorter than kTcpHeadBytes.
bool clear_urgent(std::span<uint8_t> segment);

}  // namespace netstack
