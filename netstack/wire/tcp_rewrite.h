#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "netstack/wire/ip_address.h"

namespace netstack {

// Give a TCP packet another destination or source. `ip_packet` is whole, unfragmented, of
// `address`'s family, has a TCP header behind its IP header, and no IPv6 extensions. Checksums are
// corrected by the difference (RFC 1624 §3), so a packet with a wrong one keeps a wrong one.
void rewrite_destination(std::span<uint8_t> ip_packet, const IpAddress& address, uint16_t port);
void rewrite_source(std::span<uint8_t> ip_packet, const IpAddress& address, uint16_t port);

// The maximum segment size option of a SYN (RFC 9293 §3.7.1), `segment` beginning at the TCP
// header. Nothing: there is none, or the segment is cut short. rewrite_mss() corrects the checksum
// by the difference and may be called where read_mss() has found one.
std::optional<uint16_t> read_mss(std::span<const uint8_t> segment);
void rewrite_mss(std::span<uint8_t> segment, uint16_t mss_bytes);

}  // namespace netstack
