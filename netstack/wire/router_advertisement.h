#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/wire/ip_address.h"

namespace netstack {

constexpr size_t kRouterAdvertisementHeadBytes = 16;  // RFC 4861 §4.2

// What a router tells of names, beside addresses: RFC 8106, and the MTU of RFC 4861 §4.6.4.
struct RouterAnnouncement {
  std::optional<IpAddress> dns;     // RDNSS
  std::span<const uint8_t> search;  // DNSSL: names as in DNS; empty: none
  std::optional<uint32_t> mtu;      // nothing: the link's own
  bool default_router = true;     // false: Router Lifetime 0, a router to nowhere (RFC 4861 §4.2)
  uint32_t lifetime_seconds = 0;  // of both lists
};

// Puts an announcement in the place of whatever a router advertisement says of these.
// `message` begins at the ICMPv6 type; so does the result, with a checksum of zero for the caller
// to fill. Nothing: not a router advertisement, cut short, or an option of length 0 or past the
// end.
std::optional<std::vector<uint8_t>> announce(std::span<const uint8_t> message,
                                             const RouterAnnouncement& announcement);

}  // namespace netstack
