#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "netstack/wire/ip_address.h"
#include "netstack/wire/mac_octets.h"

namespace netstack {

// Message types, RFC 2132 §9.6. A message may carry a value that has no name here.
enum class DhcpType : uint8_t {
  kDiscover = 1,
  kOffer = 2,
  kRequest = 3,
  kDecline = 4,
  kAck = 5,
  kNak = 6,
  kRelease = 7,
  kInform = 8,
};

constexpr size_t kDhcpHeadBytes = 240;        // BOOTP's fixed part and the magic cookie
constexpr size_t kDhcpMessageBytesMin = 300;  // RFC 1542 §2.1: what BOOTP relays may insist on
constexpr size_t kDhcpHostnameBytesMax = 63;  // of those we write: one label, RFC 1035 §2.3.4
constexpr size_t kDhcpPayloadBytesMax = 548;  // what every client takes: RFC 2132 §9.10 less heads

// The client's full name, option 81, RFC 4702 §2.
struct DhcpFqdn {
  static constexpr uint8_t kServerUpdates = 0x01;  // S
  static constexpr uint8_t kOverridden = 0x02;     // O
  static constexpr uint8_t kWireNames = 0x04;      // E: labels as in DNS, else ASCII
  uint8_t flags = 0;
  std::span<const uint8_t> name{};  // encoded as `flags` says: a view of the message
};

// A DHCP message: RFC 2131 §2, figure 1, and the options of RFC 2132 a lease is made of.
struct Dhcp {
  DhcpType type = DhcpType::kDiscover;
  bool from_server = false;  // op: BOOTREPLY
  bool broadcast = false;    // flags: the client cannot take unicast yet
  uint32_t xid = 0;
  MacOctets client_mac{};
  IpAddress client_ip{};                    // ciaddr
  IpAddress your_ip{};                      // yiaddr
  IpAddress relay_ip{};                     // giaddr
  std::optional<IpAddress> requested_ip{};  // option 50
  std::optional<IpAddress> server_id{};     // 54
  std::optional<IpAddress> subnet_mask{};   // 1
  std::optional<IpAddress> router{};        // 3, the first
  std::optional<IpAddress> dns{};           // 6, the first
  std::optional<uint32_t> lease_seconds{};  // 51
  std::string_view hostname{};              // 12, any bytes: a view of the message
  // Views of the message, too. What is empty or nothing is not written.
  std::span<const uint8_t> client_id{};  // 61; servers give it back, RFC 6842
  std::optional<DhcpFqdn> fqdn{};        // 81
  std::string_view domain{};             // 15
  std::span<const uint8_t> search{};     // 119, names as in DNS, RFC 3397; at most 255 bytes
  std::string_view message{};            // 56: why not, in a NAK
  std::optional<IpAddress> broadcast_address{};  // 28
  std::optional<uint16_t> mtu{};                 // 26
  std::optional<uint32_t> renewal_seconds{};     // 58
  std::optional<uint32_t> rebinding_seconds{};   // 59
  std::optional<uint16_t> message_bytes_max{};   // 57: whole IP packets this client takes
};

// `message` is the UDP payload. Nothing: cut short, not for Ethernet, no magic cookie, no message
// type, or an option that leaves the message. An option of a wrong length counts as absent; the
// overloaded `sname` and `file` fields (option 52) are not read.
std::optional<Dhcp> parse_dhcp(std::span<const uint8_t> message);

// A UDP payload of kDhcpMessageBytesMin to `bytes_max`. A longer hostname is cut; options that do
// not fit are left out, those of the address itself last of all. 576 bytes of packet, which every
// client takes, hold all of those.
std::vector<uint8_t> make_dhcp(const Dhcp& dhcp, size_t bytes_max = kDhcpPayloadBytesMax);

}  // namespace netstack
