#include "netstack/wire/arp.h"

#include <algorithm>
#include <cstring>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"

namespace netstack {

namespace {

// Hardware type 1 (Ethernet), protocol 0x0800 (IPv4), address lengths 6 and 4.
constexpr std::array<uint8_t, 6> kEthernetIpv4{0x00, 0x01, 0x08, 0x00, 0x06, 0x04};

}  // namespace

std::optional<Arp> parse_arp(std::span<const uint8_t> message) {
  if (message.size() < kArpBytes) return std::nullopt;
  if (!std::ranges::equal(message.first(kEthernetIpv4.size()), kEthernetIpv4)) return std::nullopt;
  Arp arp;
  arp.operation = read_u16(&message[6]);
  std::memcpy(arp.sender_mac.data(), &message[8], arp.sender_mac.size());
  arp.sender_ip = IpAddress::read_v4(&message[14]);
  std::memcpy(arp.target_mac.data(), &message[18], arp.target_mac.size());
  arp.target_ip = IpAddress::read_v4(&message[24]);
  return arp;
}

void write_arp(const Arp& arp, uint8_t* out) {
  check(!arp.sender_ip.v6 && !arp.target_ip.v6, "ARP resolves IPv4 addresses");
  std::memcpy(out, kEthernetIpv4.data(), kEthernetIpv4.size());
  write_u16(out + 6, arp.operation);
  std::memcpy(out + 8, arp.sender_mac.data(), arp.sender_mac.size());
  std::memcpy(out + 14, arp.sender_ip.octets.data(), 4);
  std::memcpy(out + 18, arp.target_mac.data(), arp.target_mac.size());
  std::memcpy(out + 24, arp.target_ip.octets.data(), 4);
}

}  // namespace netstack
