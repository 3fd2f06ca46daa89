#pragma once

#include <netinet/in.h>

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace netstack {

// An IPv4 or IPv6 address, octets in wire order. IPv4 uses the first four; the others stay zero.
struct IpAddress {
  bool v6 = false;
  std::array<uint8_t, 16> octets{};

  static IpAddress v4(uint32_t host_order);
  static IpAddress from(const in_addr& address);
  static IpAddress from(const in6_addr& address);
  static IpAddress read_v4(const uint8_t* bytes);  // 4 bytes
  static IpAddress read_v6(const uint8_t* bytes);  // 16 bytes
  // "192.0.2.1" or "2001:db8::1"; nothing else, no names, no scopes.
  static std::optional<IpAddress> parse(std::string_view text);

  std::span<const uint8_t> bytes() const { return {octets.data(), v6 ? 16U : 4U}; }
  uint32_t v4_bits() const;  // host order; of an IPv4 address only
  int family() const { return v6 ? AF_INET6 : AF_INET; }
  bool is_loopback() const;   // 127.0.0.0/8, ::1
  bool is_multicast() const;  // 224.0.0.0/4, ff00::/8

  auto operator<=>(const IpAddress&) const = default;
};

std::string to_string(const IpAddress& address);

// Fills `out` for connect() and friends and returns its length. `port` in host order.
socklen_t to_sockaddr(const IpAddress& address, uint16_t port, sockaddr_storage& out);
IpAddress from_sockaddr(const sockaddr_storage& address);  // AF_INET or AF_INET6

}  // namespace netstack
