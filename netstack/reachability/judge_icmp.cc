// What somebody's ICMP error means. The words are passed on as they are; the cause is in who sent
// them. An error that this host sends to itself is its firewall's (REJECT), or tells that the next
// hop does not answer: Linux then writes "host unreachable" to itself, with its own address as the
// sender. A "port unreachable" from anyone but the destination is a firewall's choice of words, so
// it does not say that a port is closed.
#include <fmt/format.h>

#include <cerrno>

#include "netstack/reachability/judge.h"

namespace netstack {
namespace {

std::string said(const Target& target, const PathError& error) {
  return fmt::format("\"{}\" (ICMP type {} code {})", icmp_phrase(target.address.v6, error.words),
                     error.words.type, error.words.code);
}

std::string answers(std::string_view who, const Target& target, const PathError& error) {
  return fmt::format("{} answers {} with {}", who, to_string(target), said(target, error));
}

std::string who_refuses(const Target& target, const PathError& error) {
  return error.offender == target.address ? std::string("the destination itself")
                                          : to_string(error.offender);
}

}  // namespace

Reason judge_remote_error(const Target& target, const PathError& error) {
  const bool v6 = target.address.v6;
  const std::string offender = to_string(error.offender);
  Reason reason{Cause::kRefusedOnPath, error.errno_value, answers(offender, target, error),
                fmt::format("ask who runs {}", offender), error.words};
  if (is_time_exceeded(v6, error.words)) {
    reason.cause = Cause::kHopLimit;
    reason.fact = fmt::format("the hop limit ended at {}", offender);
    reason.cure.clear();
  } else if (is_too_big(v6, error.words)) {
    reason.cause = Cause::kPacketTooBig;
    reason.fact = fmt::format("behind {} a link carries at most {} bytes", offender,
                              error.words.rest & (v6 ? UINT32_MAX : 0xffffU));
    reason.cure = "smaller packets; --mtu tells guests an MTU";
  } else if (is_prohibited(v6, error.words)) {
    reason.cause = Cause::kRemoteProhibited;
    reason.cure = fmt::format("ask who runs {} to permit it", who_refuses(target, error));
  } else if (is_port_unreachable(v6, error.words) && error.offender == target.address &&
             target.protocol == Protocol::kUdp) {
    reason.cause = Cause::kPortClosed;
    reason.fact =
        fmt::format("{} says that nobody listens at its UDP port {}", offender, target.port);
    reason.cure = "start the server there";
  }
  return reason;
}

Reason judge_local_error(const HostFacts& facts, const Target& target, const PathError& error) {
  const bool v6 = target.address.v6;
  if (is_time_exceeded(v6, error.words) || is_too_big(v6, error.words)) {
    return judge_remote_error(target, error);
  }
  if (is_port_unreachable(v6, error.words) && is_own_address(facts, target.address)) {
    return {Cause::kPortClosed, error.errno_value,
            fmt::format("nobody on this host listens at UDP port {} of {}", target.port,
                        to_string(target.address)),
            "start the server there", error.words};
  }
  if (auto route = judge_route(facts)) return std::move(*route);
  if (is_host_unreachable(v6, error.words)) {
    Reason reason = explain(facts, target, EHOSTUNREACH, {});
    if (reason.cause != Cause::kHostUnreachable) return reason;
    reason.fact =
        answers(fmt::format("this host itself ({})", to_string(error.offender)), target, error);
    return reason;
  }
  return {Cause::kFirewallRejects, error.errno_value,
          answers(fmt::format("the firewall of this host itself ({})", to_string(error.offender)),
                  target, error),
          "\"nft list ruleset\" or \"iptables-save\", as root, show the rule", error.words};
}

}  // namespace netstack
