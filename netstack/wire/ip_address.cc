#include "netstack/wire/ip_address.h"

#include <arpa/inet.h>

#include <cstring>

namespace netstack {

IpAddress IpAddress::v4(uint32_t host_order) {
  const uint32_t wire = htonl(host_order);
  return read_v4(reinterpret_cast<const uint8_t*>(&wire));
}

IpAddress IpAddress::from(const in_addr& address) {
  return read_v4(reinterpret_cast<const uint8_t*>(&address));
}

IpAddress IpAddress::from(const in6_addr& address) {
  return read_v6(address.s6_addr);
}

IpAddress IpAddress::read_v4(const uint8_t* bytes) {
  IpAddress address;
  std::memcpy(address.octets.data(), bytes, 4);
  return address;
}

IpAddress IpAddress::read_v6(const uint8_t* bytes) {
  IpAddress address;
  address.v6 = true;
  std::memcpy(address.octets.data(), bytes, 16);
  return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string copy(text);
  IpAddress address;
  if (::inet_pton(AF_INET, copy.c_str(), address.octets.data()) == 1) return address;
  address.v6 = true;
  if (::inet_pton(AF_INET6, copy.c_str(), address.octets.data()) == 1) return address;
  return std::nullopt;
}

uint32_t IpAddress::v4_bits() const {
  uint32_t wire = 0;
  std::memcpy(&wire, octets.data(), 4);
  return ntohl(wire);
}

bool IpAddress::is_loopback() const {
  if (!v6) return octets[0] == 127;
  const in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
  return std::memcmp(octets.data(), &loopback, 16) == 0;
}

bool IpAddress::is_multicast() const {
  return v6 ? octets[0] == 0xff : (octets[0] & 0xf0U) == 0xe0U;
}

std::string to_string(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(address.family(), address.octets.data(), text.data(), text.size());
  return text.data();
}

socklen_t to_sockaddr(const IpAddress& address, uint16_t port, sockaddr_storage& out) {
  out = {};
  if (address.v6) {
    auto& to = reinterpret_cast<sockaddr_in6&>(out);
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(port);
    std::memcpy(&to.sin6_addr, address.octets.data(), 16);
    return sizeof to;
  }
  auto& to = reinterpret_cast<sockaddr_in&>(out);
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  std::memcpy(&to.sin_addr, address.octets.data(), 4);
  return sizeof to;
}

IpAddress from_sockaddr(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET6) {
    return IpAddress::from(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  }
  return IpAddress::from(reinterpret_cast<const sockaddr_in&>(address).sin_addr);
}

}  // namespace netstack
