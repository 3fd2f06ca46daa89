#include "netstack/gateway/relayed_error.h"

#include "netstack/base/bytes.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"

namespace netstack {
namespace {

// The quoted packet is cut short, so parse_ipv4 would not take it.
bool read_quoted(std::span<const uint8_t> quoted, bool v6, RelayedError& out) {
  const size_t head_bytes = v6 ? kIpv6HeadBytes : kIpv4HeadBytes;
  if (quoted.size() < head_bytes) return false;
  const size_t transport = v6 ? head_bytes : size_t{quoted[0] & 0x0fU} * 4;
  if (quoted.size() < transport + 4) return false;
  const uint8_t protocol = v6 ? quoted[6] : quoted[9];
  out.quoted = quoted;
  out.quoted_source = v6 ? IpAddress::read_v6(&quoted[8]) : IpAddress::read_v4(&quoted[12]);
  out.target = {protocol == kProtocolTcp ? Protocol::kTcp : Protocol::kUdp,
                v6 ? IpAddress::read_v6(&quoted[24]) : IpAddress::read_v4(&quoted[16]),
                read_u16(&quoted[transport + 2])};
  return protocol == kProtocolTcp || protocol == kProtocolUdp;
}

bool is_error(bool v6, uint8_t type) {
  return v6 ? type >= kIcmpv6Unreachable && type <= kIcmpv6ParameterProblem
            : type == kIcmpUnreachable || type == kIcmpTimeExceeded ||
                  type == kIcmpParameterProblem;
}

}  // namespace

std::optional<RelayedError> parse_relayed_error(const GuestPacket& packet) {
  const bool v6 = packet.v6();
  const auto& icmp = packet.transport;
  if (packet.protocol != (v6 ? kProtocolIcmpv6 : kProtocolIcmp) || icmp.size() < kIcmpHeadBytes ||
      !is_error(v6, icmp[0])) {
    return std::nullopt;
  }
  RelayedError error{.path = packet.path,
                     .sender = packet.source,
                     .guest = packet.destination,
                     .words = {icmp[0], icmp[1], read_u32(&icmp[4])},
                     .quoted = {},
                     .quoted_source = {},
                     .target = {}};
  if (!read_quoted(icmp.subspan(kIcmpHeadBytes), v6, error)) return std::nullopt;
  return error;
}

}  // namespace netstack
