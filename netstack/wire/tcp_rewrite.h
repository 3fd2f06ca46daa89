#pragma once

#include <cstdint>
#include <span>

#include "netstack/wire/ip_address.h"

namespace netstack {

// Give a TCP packet another destination or source. `ip_packet` is whole, unfragmented, of
// `address`'s family, has a TCP header behind its IP header, and no IPv6 extensions. Checksums are
// corrected by the difference (RFC 1624 §3), so a packet with a wrong one keeps a wrong one.
void rewrite_destination(std::span<uint8_t> ip_packet, const IpAddress& address, uint16_t port);
void rewrite_source(std::span<uint8_t> ip_packet, const IpAddress& address, uint16_t port);

}  // namespace netstack
