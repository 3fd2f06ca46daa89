#include "netstack/wire/dhcp.h"

#include <algorithm>
#include <cstring>

#include "netstack/base/check.h"

namespace netstack {

namespace {

constexpr uint8_t kBootRequest = 1;
constexpr uint8_t kBootReply = 2;
constexpr uint8_t kHardwareEthernet = 1;
constexpr uint16_t kFlagBroadcast = 0x8000;
constexpr uint32_t kMagicCookie = 0x63825363;  // RFC 2131 §3
constexpr size_t kCookieAt = 236;

// Option codes, RFC 2132.
enum Option : uint8_t {
  kPad = 0,
  kSubnetMask = 1,
  kRouter = 3,
  kDns = 6,
  kHostname = 12,
  kRequestedIp = 50,
  kLeaseSeconds = 51,
  kMessageType = 53,
  kServerId = 54,
  kEnd = 255,
};

// Options 3 and 6 are lists; the first address is the preferred one.
void take_address(std::span<const uint8_t> value, std::optional<IpAddress>& to) {
  if (value.size() >= 4 && value.size() % 4 == 0) to = IpAddress::read_v4(value.data());
}

void take_option(uint8_t code, std::span<const uint8_t> value, Dhcp& dhcp,
                 std::optional<DhcpType>& type) {
  switch (code) {
    case kSubnetMask:
      return take_address(value, dhcp.subnet_mask);
    case kRouter:
      return take_address(value, dhcp.router);
    case kDns:
      return take_address(value, dhcp.dns);
    case kRequestedIp:
      return take_address(value, dhcp.requested_ip);
    case kServerId:
      return take_address(value, dhcp.server_id);
    case kLeaseSeconds:
      if (value.size() == 4) dhcp.lease_seconds = read_u32(value.data());
      return;
    case kMessageType:
      if (value.size() == 1) type = static_cast<DhcpType>(value[0]);
      return;
    case kHostname:
      dhcp.hostname = {reinterpret_cast<const char*>(value.data()), value.size()};
      return;
    default:
      return;
  }
}

// False: an option leaves the message. A missing end option is forgiven.
bool read_options(std::span<const uint8_t> options, Dhcp& dhcp, std::optional<DhcpType>& type) {
  while (!options.empty() && options[0] != kEnd) {
    if (options[0] == kPad) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || options.size() - 2 < options[1]) return false;
    take_option(options[0], options.subspan(2, options[1]), dhcp, type);
    options = options.subspan(size_t{2} + options[1]);
  }
  return true;
}

// Appends options behind the fixed part.
class OptionWriter {
 public:
  explicit OptionWriter(std::vector<uint8_t>& out) : out_(out) {}

  void add(Option code, std::span<const uint8_t> value) {
    out_.push_back(code);
    out_.push_back(static_cast<uint8_t>(value.size()));
    out_.insert(out_.end(), value.begin(), value.end());
  }
  void add(Option code, const std::optional<IpAddress>& address) {
    if (address) add(code, address->bytes());
  }
  void end() { out_.push_back(kEnd); }

 private:
  std::vector<uint8_t>& out_;
};

void add_options(const Dhcp& dhcp, OptionWriter options) {
  const auto type = static_cast<uint8_t>(dhcp.type);
  options.add(kMessageType, {&type, 1});
  options.add(kRequestedIp, dhcp.requested_ip);
  options.add(kServerId, dhcp.server_id);
  options.add(kSubnetMask, dhcp.subnet_mask);
  options.add(kRouter, dhcp.router);
  options.add(kDns, dhcp.dns);
  if (dhcp.lease_seconds) {
    std::array<uint8_t, 4> seconds{};
    write_u32(seconds.data(), *dhcp.lease_seconds);
    options.add(kLeaseSeconds, seconds);
  }
  if (!dhcp.hostname.empty()) {
    const size_t bytes = std::min(dhcp.hostname.size(), kDhcpHostnameBytesMax);
    options.add(kHostname, {reinterpret_cast<const uint8_t*>(dhcp.hostname.data()), bytes});
  }
  options.end();
}

}  // namespace

std::optional<Dhcp> parse_dhcp(std::span<const uint8_t> message) {
  if (message.size() < kDhcpHeadBytes || read_u32(&message[kCookieAt]) != kMagicCookie) {
    return std::nullopt;
  }
  if (message[0] != kBootRequest && message[0] != kBootReply) return std::nullopt;
  if (message[1] != kHardwareEthernet || message[2] != sizeof(MacOctets)) return std::nullopt;

  Dhcp dhcp;
  dhcp.from_server = message[0] == kBootReply;
  dhcp.xid = read_u32(&message[4]);
  dhcp.broadcast = (read_u16(&message[10]) & kFlagBroadcast) != 0;
  dhcp.client_ip = IpAddress::read_v4(&message[12]);
  dhcp.your_ip = IpAddress::read_v4(&message[16]);
  std::memcpy(dhcp.client_mac.data(), &message[28], dhcp.client_mac.size());

  std::optional<DhcpType> type;
  if (!read_options(message.subspan(kDhcpHeadBytes), dhcp, type) || !type) return std::nullopt;
  dhcp.type = *type;
  return dhcp;
}

std::vector<uint8_t> make_dhcp(const Dhcp& dhcp) {
  check(!dhcp.client_ip.v6 && !dhcp.your_ip.v6, "a DHCP message holds IPv4 addresses");
  std::vector<uint8_t> out(kDhcpHeadBytes);
  out[0] = dhcp.from_server ? kBootReply : kBootRequest;
  out[1] = kHardwareEthernet;
  out[2] = sizeof(MacOctets);
  write_u32(&out[4], dhcp.xid);
  write_u16(&out[10], dhcp.broadcast ? kFlagBroadcast : uint16_t{0});
  std::memcpy(&out[12], dhcp.client_ip.octets.data(), 4);
  std::memcpy(&out[16], dhcp.your_ip.octets.data(), 4);
  std::memcpy(&out[28], dhcp.client_mac.data(), dhcp.client_mac.size());
  write_u32(&out[kCookieAt], kMagicCookie);
  add_options(dhcp, OptionWriter(out));
  if (out.size() < kDhcpMessageBytesMin) out.resize(kDhcpMessageBytesMin);
  return out;
}

}  // namespace netstack
