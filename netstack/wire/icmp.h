#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/wire/ip_address.h"
#include "netstack/wire/pseudo_header.h"

namespace netstack {

// RFC 792, RFC 1812 §5.2.7.
constexpr uint8_t kIcmpEchoReply = 0;
constexpr uint8_t kIcmpUnreachable = 3;
constexpr uint8_t kIcmpSourceQuench = 4;
constexpr uint8_t kIcmpRedirect = 5;
constexpr uint8_t kIcmpEchoRequest = 8;
constexpr uint8_t kIcmpTimeExceeded = 11;
constexpr uint8_t kIcmpParameterProblem = 12;

// RFC 4443 §2.1; from 133 on RFC 4861 §4.
constexpr uint8_t kIcmpv6Unreachable = 1;
constexpr uint8_t kIcmpv6PacketTooBig = 2;
constexpr uint8_t kIcmpv6TimeExceeded = 3;
constexpr uint8_t kIcmpv6ParameterProblem = 4;
constexpr uint8_t kIcmpv6EchoRequest = 128;
constexpr uint8_t kIcmpv6EchoReply = 129;
constexpr uint8_t kIcmpv6RouterSolicitation = 133;
constexpr uint8_t kIcmpv6RouterAdvertisement = 134;
constexpr uint8_t kIcmpv6NeighbourSolicitation = 135;
constexpr uint8_t kIcmpv6NeighbourAdvertisement = 136;
constexpr uint8_t kIcmpv6Redirect = 137;

constexpr size_t kIcmpHeadBytes = 8;

// How long an error packet gets at most, IP header included.
constexpr size_t kIcmpErrorBytesMax = 576;     // RFC 1812 §4.3.2.3
constexpr size_t kIcmpv6ErrorBytesMax = 1280;  // RFC 4443 §2.4 (c)

// Echo and echo reply, RFC 792 page 14 and RFC 4443 §4.1, §4.2.
struct IcmpEcho {
  bool reply = false;
  uint16_t id = 0;
  uint16_t seq = 0;
  std::span<const uint8_t> payload{};  // a view of the message it was parsed from
};

// `message` begins at the ICMP type. Nothing: another type, a code other than 0, or cut short. The
// checksum is the caller's to verify.
std::optional<IcmpEcho> parse_icmp_echo(std::span<const uint8_t> message, bool v6);

// Whether a message's checksum is right: ICMP has none over addresses, ICMPv6 does.
bool icmp_checksum_valid(std::span<const uint8_t> message);
bool icmpv6_checksum_valid(const IpAddress& source, const IpAddress& destination,
                           std::span<const uint8_t> message);

// A whole IP packet of the addresses' family. The payload is at most 65507 bytes.
std::vector<uint8_t> make_icmp_echo(const IpAddress& source, const IpAddress& destination,
                                    uint8_t ttl, bool reply, uint16_t id, uint16_t seq,
                                    std::span<const uint8_t> payload);

// A whole IP packet that tells `destination` what became of `offending_packet` (from its IP header
// on), quoting as much of it as fits kIcmpErrorBytesMax or kIcmpv6ErrorBytesMax. `rest_of_header`
// is the second word: a next-hop MTU, a pointer (IPv4: in the top byte), or 0.
std::vector<uint8_t> make_icmp_error(const IpAddress& source, const IpAddress& destination,
                                     uint8_t type, uint8_t code, uint32_t rest_of_header,
                                     std::span<const uint8_t> offending_packet, uint8_t ttl = 64);

// Whether an error may be sent about this packet: RFC 1122 §3.2.2, RFC 4443 §2.4 (e). Never about
// ICMP errors and redirects, about what was sent to a group, about fragments behind the first, or
// to a source that is not one host. Whether the frame was a link-layer broadcast, or the address
// the subnet's own broadcast address, only the caller knows.
bool may_answer_with_error(std::span<const uint8_t> ip_packet);

}  // namespace netstack
