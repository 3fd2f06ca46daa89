#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "netstack/wire/ip_address.h"

namespace netstack {

constexpr size_t kIpv6HeadBytes = 40;
constexpr size_t kIpv6LinkMtuMin = 1280;  // RFC 8200 §5

// Extension headers, RFC 8200 §4.1, as values of a next header field.
constexpr uint8_t kNextHopByHop = 0;
constexpr uint8_t kNextRouting = 43;
constexpr uint8_t kNextFragment = 44;
constexpr uint8_t kNextNone = 59;
constexpr uint8_t kNextDestinationOptions = 60;

// More extension headers than any sender has a use for; a longer chain is malformed to us.
constexpr unsigned kExtensionHeadersMax = 8;

// The IPv6 header, RFC 8200 §3.
struct Ipv6 {
  uint8_t traffic_class = 0;
  uint32_t flow_label = 0;     // 20 bits
  uint16_t payload_bytes = 0;  // extension headers included
  uint8_t next_header = 0;
  uint8_t hop_limit = 64;
  IpAddress source{};
  IpAddress destination{};
};

// `packet` begins at the header and may be longer than the packet. Nothing: not version 6, or cut
// short. Jumbograms (RFC 2675) count as an empty payload.
std::optional<Ipv6> parse_ipv6(std::span<const uint8_t> packet);

void write_ipv6(const Ipv6& ip, uint8_t* out);  // kIpv6HeadBytes

// Where the extension headers of a packet end.
struct Ipv6Upper {
  uint8_t next_header = 0;  // kProtocolTcp, …, kNextNone; of the original packet if a fragment
  size_t offset = 0;        // of what follows, from the start of the packet
  bool fragment = false;    // there was a fragment header, RFC 8200 §4.5
  bool more_fragments = false;   // and others follow
  uint16_t fragment_offset = 0;  // bytes; when not 0, `offset` points into the middle of a payload
};

// Walks hop-by-hop, routing, destination options and fragment headers; it stops behind the fragment
// header of any fragment but the first. Nothing: cut short, or over kExtensionHeadersMax of them.
std::optional<Ipv6Upper> skip_extensions(std::span<const uint8_t> packet);

// `packet` from upper.offset on, without padding. `upper` comes from skip_extensions(packet).
std::span<const uint8_t> ipv6_payload(const Ipv6& ip, const Ipv6Upper& upper,
                                      std::span<const uint8_t> packet);

}  // namespace netstack
