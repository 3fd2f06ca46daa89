#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "netstack/frame/mac.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// Where an answer to a guest's frame goes: addresses of the frame it answers, swapped.
struct ReturnPath {
  Mac guest;
  Mac gateway;
};

// An IP packet of a guest, found in an untagged frame. The spans point into the frame.
struct GuestPacket {
  ReturnPath path;
  IpAddress source;
  IpAddress destination;
  uint8_t hop_limit = 0;
  uint8_t protocol = 0;
  bool fragment = false;         // not a whole datagram
  std::span<uint8_t> ip;         // without Ethernet padding
  std::span<uint8_t> transport;  // after the IP header

  bool v6() const { return source.v6; }
  // Nobody on its way may fragment it: IPv6, or "don't fragment" of IPv4 (RFC 791 §3.1).
  bool stays_whole() const { return v6() || (ip[6] & 0x40U) != 0; }
};

// Nothing: neither IPv4 nor IPv6, or its IP header is malformed. IPv6 packets with extension
// headers come out with the extension's number as protocol: the engine behind the gateway knows
// none of them.
std::optional<GuestPacket> parse_guest_packet(std::span<uint8_t> frame);

// The same for a packet on its way to a guest, which is then its destination.
std::optional<GuestPacket> parse_towards_guest(std::span<const uint8_t> frame);

}  // namespace netstack
