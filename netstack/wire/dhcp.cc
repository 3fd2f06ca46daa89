#include "netstack/wire/dhcp.h"

#include <algorithm>
#include <cstring>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"

namespace netstack {

namespace {

constexpr uint8_t kBootRequest = 1;
constexpr uint8_t kBootReply = 2;
constexpr uint8_t kHardwareEthernet = 1;
constexpr uint16_t kFlagBroadcast = 0x8000;
constexpr uint32_t kMagicCookie = 0x63825363;  // RFC 2131 §3
constexpr size_t kCookieAt = 236;

constexpr size_t kFqdnHeadBytes = 3;  // flags and two reply codes without meaning

// Option codes, RFC 2132; 81 is RFC 4702's, 119 RFC 3397's.
enum Option : uint8_t {
  kPad = 0,
  kSubnetMask = 1,
  kRouter = 3,
  kDns = 6,
  kHostname = 12,
  kDomain = 15,
  kMtu = 26,
  kBroadcastAddress = 28,
  kRequestedIp = 50,
  kLeaseSeconds = 51,
  kMessageType = 53,
  kServerId = 54,
  kMessage = 56,
  kMessageBytesMax = 57,
  kRenewalSeconds = 58,
  kRebindingSeconds = 59,
  kClientId = 61,
  kFqdn = 81,
  kSearch = 119,
  kEnd = 255,
};

// Options 3 and 6 are lists; the first address is the preferred one.
void take_address(std::span<const uint8_t> value, std::optional<IpAddress>& to) {
  if (value.size() >= 4 && value.size() % 4 == 0) to = IpAddress::read_v4(value.data());
}

std::string_view text_of(std::span<const uint8_t> value) {
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

void take_number(std::span<const uint8_t> value, std::optional<uint32_t>& to) {
  if (value.size() == 4) to = read_u32(value.data());
}

void take_number(std::span<const uint8_t> value, std::optional<uint16_t>& to) {
  if (value.size() == 2) to = read_u16(value.data());
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
    case kBroadcastAddress:
      return take_address(value, dhcp.broadcast_address);
    case kLeaseSeconds:
      return take_number(value, dhcp.lease_seconds);
    case kRenewalSeconds:
      return take_number(value, dhcp.renewal_seconds);
    case kRebindingSeconds:
      return take_number(value, dhcp.rebinding_seconds);
    case kMtu:
      return take_number(value, dhcp.mtu);
    case kMessageBytesMax:
      return take_number(value, dhcp.message_bytes_max);
    case kMessageType:
      if (value.size() == 1) type = static_cast<DhcpType>(value[0]);
      return;
    case kHostname:
      dhcp.hostname = text_of(value);
      return;
    case kDomain:
      dhcp.domain = text_of(value);
      return;
    case kMessage:
      dhcp.message = text_of(value);
      return;
    case kClientId:
      dhcp.client_id = value;
      return;
    case kSearch:
      dhcp.search = value;
      return;
    case kFqdn:
      if (value.size() >= kFqdnHeadBytes) {
        dhcp.fqdn = DhcpFqdn{value[0], value.subspan(kFqdnHeadBytes)};
      }
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

// Appends options behind the fixed part, each whole or not at all, with room kept for the end.
class OptionWriter {
 public:
  OptionWriter(std::vector<uint8_t>& out, size_t bytes_max) : out_(out), bytes_max_(bytes_max) {}

  void add(Option code, std::span<const uint8_t> value) {
    constexpr size_t kValueBytesMax = 255;
    const size_t bytes = size_t{2} + value.size();
    if (value.size() > kValueBytesMax || out_.size() + bytes + 1 > bytes_max_) return;
    out_.push_back(code);
    out_.push_back(static_cast<uint8_t>(value.size()));
    out_.insert(out_.end(), value.begin(), value.end());
  }
  void add(Option code, const std::optional<IpAddress>& address) {
    if (address) add(code, address->bytes());
  }
  void add(Option code, const std::optional<uint32_t>& number) {
    std::array<uint8_t, 4> bytes{};
    if (!number) return;
    write_u32(bytes.data(), *number);
    add(code, bytes);
  }
  void add(Option code, const std::optional<uint16_t>& number) {
    std::array<uint8_t, 2> bytes{};
    if (!number) return;
    write_u16(bytes.data(), *number);
    add(code, bytes);
  }
  void add(Option code, std::string_view text) {
    if (text.empty()) return;
    add(code, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  }
  void end() { out_.push_back(kEnd); }

 private:
  std::vector<uint8_t>& out_;
  size_t bytes_max_;
};

// What an address is of no use without comes first: the last ones are left out when room is short.
void add_options(const Dhcp& dhcp, OptionWriter options) {
  const auto type = static_cast<uint8_t>(dhcp.type);
  options.add(kMessageType, std::span(&type, 1));
  options.add(kRequestedIp, dhcp.requested_ip);
  options.add(kServerId, dhcp.server_id);
  options.add(kSubnetMask, dhcp.subnet_mask);
  options.add(kRouter, dhcp.router);
  options.add(kDns, dhcp.dns);
  options.add(kLeaseSeconds, dhcp.lease_seconds);
  options.add(kRenewalSeconds, dhcp.renewal_seconds);
  options.add(kRebindingSeconds, dhcp.rebinding_seconds);
  options.add(kBroadcastAddress, dhcp.broadcast_address);
  options.add(kMtu, dhcp.mtu);
  options.add(kMessageBytesMax, dhcp.message_bytes_max);
  if (!dhcp.client_id.empty()) options.add(kClientId, dhcp.client_id);
  options.add(kHostname, dhcp.hostname.substr(0, kDhcpHostnameBytesMax));
  options.add(kDomain, dhcp.domain);
  options.add(kMessage, dhcp.message);
  if (dhcp.fqdn) {
    std::vector<uint8_t> value{dhcp.fqdn->flags, 255, 255};  // the codes of a server: RFC 4702 §2.2
    value.insert(value.end(), dhcp.fqdn->name.begin(), dhcp.fqdn->name.end());
    options.add(kFqdn, value);
  }
  if (!dhcp.search.empty()) options.add(kSearch, dhcp.search);
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
  dhcp.relay_ip = IpAddress::read_v4(&message[24]);
  std::memcpy(dhcp.client_mac.data(), &message[28], dhcp.client_mac.size());

  std::optional<DhcpType> type;
  if (!read_options(message.subspan(kDhcpHeadBytes), dhcp, type) || !type) return std::nullopt;
  dhcp.type = *type;
  return dhcp;
}

std::vector<uint8_t> make_dhcp(const Dhcp& dhcp, size_t bytes_max) {
  check(!dhcp.client_ip.v6 && !dhcp.your_ip.v6, "a DHCP message holds IPv4 addresses");
  check(bytes_max >= kDhcpMessageBytesMin, "a DHCP message has room for a lease");
  std::vector<uint8_t> out(kDhcpHeadBytes);
  out[0] = dhcp.from_server ? kBootReply : kBootRequest;
  out[1] = kHardwareEthernet;
  out[2] = sizeof(MacOctets);
  write_u32(&out[4], dhcp.xid);
  write_u16(&out[10], dhcp.broadcast ? kFlagBroadcast : uint16_t{0});
  std::memcpy(&out[12], dhcp.client_ip.octets.data(), 4);
  std::memcpy(&out[16], dhcp.your_ip.octets.data(), 4);
  std::memcpy(&out[24], dhcp.relay_ip.octets.data(), 4);
  std::memcpy(&out[28], dhcp.client_mac.data(), dhcp.client_mac.size());
  write_u32(&out[kCookieAt], kMagicCookie);
  add_options(dhcp, OptionWriter(out, bytes_max));
  if (out.size() < kDhcpMessageBytesMin) out.resize(kDhcpMessageBytesMin);
  return out;
}

}  // namespace netstack
