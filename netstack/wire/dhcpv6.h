#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/wire/ip_address.h"
#include "netstack/wire/mac_octets.h"

namespace netstack {

constexpr uint16_t kPortDhcpv6Client = 546;  // RFC 8415 §7.2
constexpr uint16_t kPortDhcpv6Server = 547;
constexpr size_t kDhcpv6HeadBytes = 4;

// Message types a client without need of an address meets, RFC 8415 §7.3. Others have no name here.
enum class Dhcpv6Type : uint8_t { kReply = 7, kInformationRequest = 11 };

// A DHCPv6 message between client and server, RFC 8415 §8, and the options of a stateless one.
struct Dhcpv6 {
  Dhcpv6Type type = Dhcpv6Type::kInformationRequest;
  uint32_t transaction = 0;                   // 24 bits
  std::span<const uint8_t> client_id{};       // option 1: a view of the message
  std::span<const uint8_t> server_id{};       // 2: the same
  bool wants_address = false;                 // an IA_NA, IA_TA or IA_PD: 3, 4, 25; not written
  std::optional<IpAddress> dns{};             // 23, the first; RFC 3646 §3
  std::span<const uint8_t> search{};          // 24, names as in DNS; RFC 3646 §4
  std::optional<uint32_t> refresh_seconds{};  // 32
};

// `message` is the UDP payload. Nothing: cut short, a relay's message, or an option that leaves it.
std::optional<Dhcpv6> parse_dhcpv6(std::span<const uint8_t> message);
std::vector<uint8_t> make_dhcpv6(const Dhcpv6& dhcp);

// DUID-LL, RFC 8415 §11.4: who a server is, by its MAC address.
std::vector<uint8_t> make_duid(const MacOctets& mac);

}  // namespace netstack
