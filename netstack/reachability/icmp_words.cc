#include "netstack/reachability/icmp_words.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace netstack {
namespace {

constexpr auto kUnreachable4 = std::to_array<std::string_view>(
    {"Destination Net Unreachable", "Destination Host Unreachable",
     "Destination Protocol Unreachable", "Destination Port Unreachable", "Frag needed and DF set",
     "Source Route Failed", "Destination Net Unknown", "Destination Host Unknown",
     "Source Host Isolated", "Destination Net Prohibited", "Destination Host Prohibited",
     "Destination Net Unreachable for Type of Service",
     "Destination Host Unreachable for Type of Service", "Packet filtered", "Precedence Violation",
     "Precedence Cutoff"});
constexpr auto kUnreachable6 = std::to_array<std::string_view>(
    {"No route", "Administratively prohibited", "Beyond scope of source address",
     "Address unreachable", "Port unreachable", "Source address failed ingress/egress policy",
     "Reject route"});

std::string phrase4(const IcmpWords& words) {
  if (is_too_big(false, words)) {
    return fmt::format("{} (mtu = {})", kUnreachable4[words.code], words.rest & 0xffffU);
  }
  if (words.type == kIcmpUnreachable && words.code < kUnreachable4.size()) {
    return std::string(kUnreachable4[words.code]);
  }
  if (words.type == kIcmpTimeExceeded) {
    return words.code == 0 ? "Time to live exceeded" : "Frag reassembly time exceeded";
  }
  if (words.type == kIcmpParameterProblem) {
    return fmt::format("Parameter problem: pointer = {}", words.rest >> 24U);
  }
  return fmt::format("ICMP type {} code {}", words.type, words.code);
}

std::string phrase6(const IcmpWords& words) {
  if (words.type == kIcmpv6Unreachable && words.code < kUnreachable6.size()) {
    return fmt::format("Destination unreachable: {}", kUnreachable6[words.code]);
  }
  if (is_too_big(true, words)) return fmt::format("Packet too big: mtu={}", words.rest);
  if (words.type == kIcmpv6TimeExceeded) {
    return words.code == 0 ? "Time exceeded: Hop limit" : "Time exceeded: Defragmentation failure";
  }
  if (words.type == kIcmpv6ParameterProblem) {
    return words.code == kCodeUnknownNextHeader6 ? "Parameter problem: Unknown header"
                                                 : "Parameter problem";
  }
  return fmt::format("ICMPv6 type {} code {}", words.type, words.code);
}

}  // namespace

std::string icmp_phrase(bool v6, const IcmpWords& words) {
  return v6 ? phrase6(words) : phrase4(words);
}

IcmpWords too_big_words(bool v6, uint32_t mtu) {
  return v6 ? IcmpWords{kIcmpv6PacketTooBig, 0, mtu}
            : IcmpWords{kIcmpUnreachable, kCodeFragmentationNeeded, mtu & 0xffffU};
}

bool is_too_big(bool v6, const IcmpWords& words) {
  return v6 ? words.type == kIcmpv6PacketTooBig
            : words.type == kIcmpUnreachable && words.code == kCodeFragmentationNeeded;
}

bool is_time_exceeded(bool v6, const IcmpWords& words) {
  return words.type == (v6 ? kIcmpv6TimeExceeded : kIcmpTimeExceeded) && words.code == 0;
}

bool is_port_unreachable(bool v6, const IcmpWords& words) {
  return v6 ? words.type == kIcmpv6Unreachable && words.code == kCodePort6
            : words.type == kIcmpUnreachable && words.code == kCodePort;
}

bool is_prohibited(bool v6, const IcmpWords& words) {
  if (v6) {
    return words.type == kIcmpv6Unreachable &&
           (words.code == kCodeProhibited6 || words.code == kCodeSourcePolicy6 ||
            words.code == kCodeRejectRoute6);
  }
  return words.type == kIcmpUnreachable &&
         (words.code == kCodeNetProhibited || words.code == kCodeHostProhibited ||
          words.code == kCodeProhibited);
}

bool is_host_unreachable(bool v6, const IcmpWords& words) {
  return v6 ? words.type == kIcmpv6Unreachable && words.code == kCodeAddress6
            : words.type == kIcmpUnreachable && words.code == kCodeHost;
}

}  // namespace netstack
