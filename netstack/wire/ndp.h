#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "netstack/wire/ip_address.h"
#include "netstack/wire/mac_octets.h"

namespace netstack {

constexpr size_t kNdpHeadBytes = 24;  // up to and with the target address
constexpr size_t kNdpLinkLayerOptionBytes = 8;
constexpr uint8_t kNdpHopLimit = 255;  // RFC 4861 §7.1: a router's forwarding would lower it

// A neighbour solicitation or advertisement, RFC 4861 §4.3 and §4.4.
struct Ndp {
  bool advertisement = false;
  bool from_router = false;  // R, S and O flags, of advertisements only
  bool solicited = false;
  bool overriding = false;
  IpAddress target{};
  // The source (solicitation) or target (advertisement) link-layer address option, §4.6.1.
  std::optional<MacOctets> link_layer{};
};

// `message` begins at the ICMPv6 type. Nothing: another type or code, cut short, an option of
// length 0 or past the end, or a group as target (§7.1). Hop limit (kNdpHopLimit) and checksum are
// the caller's to verify.
std::optional<Ndp> parse_ndp(std::span<const uint8_t> message);

// Writes kNdpHeadBytes, and kNdpLinkLayerOptionBytes more if there is an address, with a checksum
// of zero for the caller to fill. Returns the bytes written.
size_t write_ndp(const Ndp& ndp, uint8_t* out);

}  // namespace netstack
