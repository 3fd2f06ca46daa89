#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "netstack/wire/ip_address.h"
#include "netstack/wire/mac_octets.h"

namespace netstack {

constexpr size_t kArpBytes = 28;
constexpr uint16_t kArpRequest = 1;
constexpr uint16_t kArpReply = 2;

// Address resolution for IPv4 over Ethernet, RFC 826.
struct Arp {
  uint16_t operation = kArpRequest;
  MacOctets sender_mac{};
  IpAddress sender_ip{};
  MacOctets target_mac{};  // zero in a request
  IpAddress target_ip{};
};

// `message` follows the Ethernet header and may be padded. Nothing: cut short, or not Ethernet and
// IPv4. Any operation passes.
std::optional<Arp> parse_arp(std::span<const uint8_t> message);

void write_arp(const Arp& arp, uint8_t* out);  // kArpBytes

}  // namespace netstack
