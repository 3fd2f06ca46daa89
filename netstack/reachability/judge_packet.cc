#include "netstack/reachability/judge_packet.h"

#include <fmt/format.h>

#include "netstack/reachability/judge.h"

namespace netstack {

Reason hop_limit_ended_here() {
  return {Cause::kHopLimit, 0, "the hop limit ended at the gateway", ""};
}

Reason too_big(bool v6, size_t size, uint32_t mtu, const std::string& what) {
  return {Cause::kPacketTooBig, 0,
          fmt::format("it has {} bytes, must not be fragmented, and {} carries at most {}", size,
                      what, mtu),
          "smaller packets; --mtu tells guests an MTU", too_big_words(v6, mtu)};
}

Reason protocol_unsupported(const Target& target) {
  return {Cause::kProtocolUnsupported, 0,
          fmt::format("the gateway carries ICMP echo, UDP and TCP, and not IP protocol {}",
                      target.port),
          "carry it in UDP, or plug the other end into the LAN",
          // The pointer of IPv6 is at the next header field (RFC 4443 §3.4).
          target.address.v6
              ? std::optional(IcmpWords{kIcmpv6ParameterProblem, kCodeUnknownNextHeader6, 6})
              : std::nullopt};
}

Reason address_on_lan(const Target& target) {
  return {Cause::kOnLan, 0,
          fmt::format("{} is in the guests' own network, where guests reach each other without the "
                      "gateway",
                      to_string(target.address)),
          "the LAN's netmask in the guest, and a guest that has the address"};
}

Reason own_port_closed(const Target& target) {
  return {Cause::kPortClosed, 0,
          fmt::format("the gateway serves nothing at port {} of {}", target.port,
                      to_string(target.address)),
          ""};
}

}  // namespace netstack
