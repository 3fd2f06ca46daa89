#pragma once

#include <cstdint>
#include <span>

#include "netstack/wire/ip_address.h"

namespace netstack {

// The checksum of a TCP, UDP or ICMPv6 message with its pseudo-header (RFC 9293 §3.1, RFC 768,
// RFC 8200 §8.1), in host order. Over a segment whose checksum field is zero it is the value to
// store (UDP stores 0xffff for 0); over a segment with a right checksum it is 0. Both addresses are
// of one family; `protocol` is the upper layer's number, behind any extension headers.
uint16_t transport_checksum(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                            std::span<const uint8_t> segment);

}  // namespace netstack
