#include "netstack/wire/router_advertisement.h"

#include "netstack/base/bytes.h"
#include "netstack/wire/icmp.h"

namespace netstack {

namespace {

constexpr size_t kUnitBytes = 8;  // of an option's length, RFC 4861 §4.6
constexpr size_t kListHeadBytes = 8;
constexpr size_t kRouterLifetimeAt = 6;

enum Option : uint8_t { kMtu = 5, kDnsServers = 25, kSearchList = 31 };

bool is_ours_to_say(uint8_t code) {
  return code == kMtu || code == kDnsServers || code == kSearchList;
}

// RDNSS and DNSSL share their layout: type, length in units, two reserved bytes, lifetime, list.
void add_list(Option code, uint32_t lifetime_seconds, std::span<const uint8_t> list,
              std::vector<uint8_t>& out) {
  const size_t bytes = (kListHeadBytes + list.size() + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
  const size_t at = out.size();
  out.resize(at + kListHeadBytes);
  out[at] = code;
  out[at + 1] = static_cast<uint8_t>(bytes / kUnitBytes);
  write_u32(&out[at + 4], lifetime_seconds);
  out.insert(out.end(), list.begin(), list.end());
  out.resize(at + bytes);
}

}  // namespace

std::optional<std::vector<uint8_t>> announce(std::span<const uint8_t> message,
                                             const RouterAnnouncement& announcement) {
  if (message.size() < kRouterAdvertisementHeadBytes || message[1] != 0 ||
      message[0] != kIcmpv6RouterAdvertisement) {
    return std::nullopt;
  }
  const auto head = message.first(kRouterAdvertisementHeadBytes);
  std::vector<uint8_t> out(head.begin(), head.end());
  write_u16(&out[2], 0);
  if (!announcement.default_router) write_u16(&out[kRouterLifetimeAt], 0);
  std::span<const uint8_t> options = message.subspan(head.size());
  while (!options.empty()) {
    if (options.size() < kUnitBytes) return std::nullopt;
    const size_t bytes = options[1] * kUnitBytes;
    if (bytes == 0 || bytes > options.size()) return std::nullopt;
    if (!is_ours_to_say(options[0])) {
      out.insert(out.end(), options.begin(), options.begin() + static_cast<ptrdiff_t>(bytes));
    }
    options = options.subspan(bytes);
  }
  if (announcement.mtu) {
    const size_t at = out.size();
    out.resize(at + kUnitBytes);
    out[at] = kMtu;
    out[at + 1] = 1;
    write_u32(&out[at + 4], *announcement.mtu);
  }
  if (announcement.dns) {
    add_list(kDnsServers, announcement.lifetime_seconds, announcement.dns->bytes(), out);
  }
  if (!announcement.search.empty()) {
    add_list(kSearchList, announcement.lifetime_seconds, announcement.search, out);
  }
  return out;
}

}  // namespace netstack
