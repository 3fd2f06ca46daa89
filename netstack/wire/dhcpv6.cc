#include "netstack/wire/dhcpv6.h"

#include <cstring>

#include "netstack/base/bytes.h"

namespace netstack {

namespace {

constexpr uint8_t kRelayForward = 12;  // RFC 8415 §9: another layout
constexpr uint8_t kRelayReply = 13;
constexpr size_t kOptionHeadBytes = 4;
constexpr uint16_t kDuidLinkLayer = 3;
constexpr uint16_t kHardwareEthernet = 1;

// Option codes, RFC 8415 §21 and RFC 3646.
enum Option : uint16_t {
  kClientId = 1,
  kServerId = 2,
  kIaNonTemporary = 3,
  kIaTemporary = 4,
  kDnsServers = 23,
  kDomainList = 24,
  kIaPrefix = 25,
  kRefreshSeconds = 32,
};

void take_option(uint16_t code, std::span<const uint8_t> value, Dhcpv6& dhcp) {
  switch (code) {
    case kClientId:
      dhcp.client_id = value;
      return;
    case kServerId:
      dhcp.server_id = value;
      return;
    case kIaNonTemporary:
    case kIaTemporary:
    case kIaPrefix:
      dhcp.wants_address = true;
      return;
    case kDnsServers:
      if (value.size() >= 16) dhcp.dns = IpAddress::read_v6(value.data());
      return;
    case kDomainList:
      dhcp.search = value;
      return;
    case kRefreshSeconds:
      if (value.size() == 4) dhcp.refresh_seconds = read_u32(value.data());
      return;
    default:
      return;
  }
}

void add_option(Option code, std::span<const uint8_t> value, std::vector<uint8_t>& out) {
  const size_t at = out.size();
  out.resize(at + kOptionHeadBytes);
  write_u16(&out[at], code);
  write_u16(&out[at + 2], static_cast<uint16_t>(value.size()));
  out.insert(out.end(), value.begin(), value.end());
}

}  // namespace

std::optional<Dhcpv6> parse_dhcpv6(std::span<const uint8_t> message) {
  if (message.size() < kDhcpv6HeadBytes) return std::nullopt;
  if (message[0] == kRelayForward || message[0] == kRelayReply) return std::nullopt;
  Dhcpv6 dhcp;
  dhcp.type = static_cast<Dhcpv6Type>(message[0]);
  dhcp.transaction = read_u32(message.data()) & 0x00ff'ffffU;
  std::span<const uint8_t> options = message.subspan(kDhcpv6HeadBytes);
  while (!options.empty()) {
    if (options.size() < kOptionHeadBytes) return std::nullopt;
    const size_t bytes = read_u16(&options[2]);
    if (options.size() - kOptionHeadBytes < bytes) return std::nullopt;
    take_option(read_u16(options.data()), options.subspan(kOptionHeadBytes, bytes), dhcp);
    options = options.subspan(kOptionHeadBytes + bytes);
  }
  return dhcp;
}

std::vector<uint8_t> make_dhcpv6(const Dhcpv6& dhcp) {
  std::vector<uint8_t> out(kDhcpv6HeadBytes);
  write_u32(out.data(), dhcp.transaction & 0x00ff'ffffU);
  out[0] = static_cast<uint8_t>(dhcp.type);
  if (!dhcp.client_id.empty()) add_option(kClientId, dhcp.client_id, out);
  if (!dhcp.server_id.empty()) add_option(kServerId, dhcp.server_id, out);
  if (dhcp.dns) add_option(kDnsServers, dhcp.dns->bytes(), out);
  if (!dhcp.search.empty()) add_option(kDomainList, dhcp.search, out);
  if (dhcp.refresh_seconds) {
    std::array<uint8_t, 4> seconds{};
    write_u32(seconds.data(), *dhcp.refresh_seconds);
    add_option(kRefreshSeconds, seconds, out);
  }
  return out;
}

std::vector<uint8_t> make_duid(const MacOctets& mac) {
  std::vector<uint8_t> duid(4 + mac.size());
  write_u16(&duid[0], kDuidLinkLayer);
  write_u16(&duid[2], kHardwareEthernet);
  std::memcpy(&duid[4], mac.data(), mac.size());
  return duid;
}

}  // namespace netstack
