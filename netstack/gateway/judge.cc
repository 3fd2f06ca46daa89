// From facts to a Reason. The order of the questions is the order in which things must work: first
// a route, then the permission to use it, then an answer from the other side. A host without a
// route and without ping permission is told about the route: permission would not help it.
//
// An errno is never explained by facts that do not produce it. When sendto() says EACCES while the
// route is fine and ping is permitted, something this code does not know decided so (a firewall, a
// security module, a fact that changed since), and the reason says just that.

#include "netstack/gateway/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "netstack/base/error.h"
#include "netstack/gateway/wording.h"

namespace netstack {
namespace {

constexpr uint32_t kOverflowGroup = 65534;  // what ids without a mapping read as
constexpr uint16_t kDnsPort = 53;
constexpr std::string_view kFirewallCure =
    "\"nft list ruleset\" and the container's or security module's rules, as root";

Reason unknown(std::string fact, int errno_value, std::string cure) {
  return {Cause::kUnknown, errno_value, std::move(fact), std::move(cure)};
}

bool holds_group(const PingFacts& ping) {
  return ping.range && std::any_of(ping.groups.begin(), ping.groups.end(), [&](uint32_t group) {
           return group != kOverflowGroup && ping.range->low <= group && group <= ping.range->high;
         });
}

std::string list_groups(const PingFacts& ping) {
  std::vector<std::string> groups;
  for (const uint32_t group : ping.groups) groups.push_back(fmt::format("{}", group));
  return enumerate(groups);
}

// In a user namespace that maps few ids, the kernel takes only mapped ones.
std::string ping_cure(const PingFacts& ping) {
  const uint32_t own = ping.groups.empty() ? 0 : ping.groups.front();
  const std::string range =
      ping.every_group_mapped ? std::string("0 2147483647") : fmt::format("{} {}", own, own);
  return fmt::format(
      "sysctl -w net.ipv4.ping_group_range=\"{}\" (as root in this network "
      "namespace)",
      range);
}

std::string doctor_cure(const IpAddress& address) {
  return fmt::format("lanyard doctor --to {}", to_string(address));
}

// ICMP types and codes that say something by themselves (RFC 792, RFC 1812, RFC 4443).
std::string_view icmp_meaning(bool v6, uint8_t type, uint8_t code) {
  struct Meaning {
    uint8_t type, code;
    std::string_view text;
  };
  static constexpr auto kV4 = std::to_array<Meaning>({{3, 0, "net unreachable"},
                                                      {3, 1, "host unreachable"},
                                                      {3, 2, "protocol unreachable"},
                                                      {3, 3, "port unreachable"},
                                                      {3, 4, "packet too big"},
                                                      {3, 9, "net prohibited"},
                                                      {3, 10, "host prohibited"},
                                                      {3, 13, "administratively prohibited"},
                                                      {11, 0, "time to live exceeded"}});
  static constexpr auto kV6 = std::to_array<Meaning>({{1, 0, "no route"},
                                                      {1, 1, "administratively prohibited"},
                                                      {1, 3, "address unreachable"},
                                                      {1, 4, "port unreachable"},
                                                      {1, 5, "source address refused"},
                                                      {1, 6, "route rejects"},
                                                      {2, 0, "packet too big"},
                                                      {3, 0, "hop limit exceeded"}});
  const auto search = [&](const auto& table) -> std::string_view {
    for (const Meaning& row : table) {
      if (row.type == type && row.code == code) return row.text;
    }
    return "an ICMP error";
  };
  return v6 ? search(kV6) : search(kV4);
}

bool is_own_address(const HostFacts& facts, const IpAddress& address) {
  return std::any_of(facts.links.begin(), facts.links.end(), [&](const LinkFact& link) {
    return std::any_of(link.addresses.begin(), link.addresses.end(),
                       [&](const InterfaceAddress& own) { return own.address == address; });
  });
}

Reason refused_on_path(const HostFacts& facts, const EchoProbe& probe) {
  const std::string address = to_string(facts.destination);
  const std::string error =
      fmt::format("\"{}\" (ICMP type {} code {})",
                  icmp_meaning(facts.destination.v6, probe.icmp_type, probe.icmp_code),
                  probe.icmp_type, probe.icmp_code);
  Reason reason{Cause::kRefusedOnPath, probe.errno_value, {}, {}};
  if (!probe.offender) {
    reason.fact = fmt::format("an echo request to {} came back with {}", address, error);
    reason.cure = fmt::format("traceroute {} to see who refuses", address);
  } else if (is_own_address(facts, *probe.offender)) {
    reason.fact = fmt::format("this host itself ({}) answers an echo request to {} with {}",
                              to_string(*probe.offender), address, error);
    reason.cure = "\"ip neigh\" for a next hop that does not answer, and the firewall rules";
  } else {
    reason.fact = fmt::format("{} answers an echo request to {} with {}",
                              to_string(*probe.offender), address, error);
    reason.cure = fmt::format("ask who runs {}", to_string(*probe.offender));
  }
  return reason;
}

std::string way_out(const RouteFact& route) {
  const std::string link = fmt::format("\"{}\"", route.link);
  return route.router ? fmt::format("via {} on {}", to_string(*route.router), link)
                      : fmt::format("on {}", link);
}

Reason no_answer(const HostFacts& facts, const EchoProbe& probe) {
  const RouteFact& route = facts.route;
  std::string fact =
      fmt::format("an echo request to {} left {} and nothing came back in {} s",
                  to_string(facts.destination), way_out(route), probe.took_ns / kSecond_ns);
  const auto link = std::find_if(facts.links.begin(), facts.links.end(),
                                 [&](const LinkFact& each) { return each.name == route.link; });
  const bool cut = link != facts.links.end() && !link->carrier;
  if (cut) fact += fmt::format("; link \"{}\" has no carrier", route.link);
  return {Cause::kNoAnswer, 0, fact,
          cut ? fmt::format("bring up what \"{}\" is plugged into", route.link)
              : std::string("another destination, to tell a silent host from a silent path")};
}

}  // namespace

std::optional<Reason> judge_ping(const PingFacts& ping, bool v6) {
  const int errno_value = v6 ? ping.socket6_errno : ping.socket4_errno;
  if (errno_value == 0) return std::nullopt;
  if (errno_value == EACCES && ping.range && !holds_group(ping)) {
    return Reason{Cause::kPingNotPermitted, errno_value,
                  fmt::format("net.ipv4.ping_group_range is \"{} {}\" and none of this process's "
                              "groups ({}) is inside",
                              ping.range->low, ping.range->high, list_groups(ping)),
                  ping_cure(ping)};
  }
  return unknown(fmt::format("opening an {} ping socket gave {} ({})", version_name(v6),
                             errno_name(errno_value), errno_text(errno_value)),
                 errno_value,
                 "look for a seccomp filter, security module or container runtime "
                 "that denies ping sockets");
}

std::optional<Reason> judge_resolver(const ResolverFacts& resolver) {
  if (!resolver.nameservers.empty()) return std::nullopt;
  std::string fact = fmt::format("{} names no nameserver", resolver.path);
  if (resolver.errno_value == ENOENT) {
    fact = fmt::format("{} is missing", resolver.path);
  } else if (resolver.errno_value != 0) {
    fact = fmt::format("{} cannot be read: {}", resolver.path, errno_text(resolver.errno_value));
  }
  return Reason{Cause::kNoNameserver, resolver.errno_value, fact,
                fmt::format("write \"nameserver ADDRESS\" into {}", resolver.path)};
}

Reason explain(const HostFacts& facts, const Target& target, int errno_value,
               std::string_view syscall) {
  const bool echo = target.protocol == Protocol::kIcmpEcho;
  const auto ping = echo ? judge_ping(facts.ping, target.address.v6) : std::nullopt;
  const bool ping_explains = ping && ping->errno_value == errno_value;
  const auto route = judge_route(facts);
  if (route && (route->errno_value == errno_value || ping_explains)) return *route;
  if (ping_explains) return *ping;
  const bool is_nameserver =
      std::any_of(facts.resolver.nameservers.begin(), facts.resolver.nameservers.end(),
                  [&](const Nameserver& server) { return server.address == target.address; });
  if (errno_value == ECONNREFUSED && target.port == kDnsPort && is_nameserver) {
    NameserverProbe probe;
    probe.outcome = ProbeOutcome::kRefused;
    probe.errno_value = errno_value;
    return *judge_nameserver(facts, {target.address, {}}, probe);
  }
  if (errno_value == EHOSTUNREACH && !route && facts.route.known) {
    const std::string way =
        facts.route.router
            ? fmt::format("router {} of \"{}\"", to_string(*facts.route.router), facts.route.link)
            : fmt::format("link \"{}\"", facts.route.link);
    return {
        Cause::kHostUnreachable, errno_value,
        fmt::format("the route leads to {}, and nobody answers for the address there or a router "
                    "on the way says so (EHOSTUNREACH)",
                    way),
        "check the address, and that its machine is up"};
  }
  const std::string call = syscall.empty() ? std::string("the host") : fmt::format("{}()", syscall);
  return unknown(fmt::format("{} refused {} with {} ({})", call, to_string(target),
                             errno_name(errno_value), errno_text(errno_value)),
                 errno_value, doctor_cure(target.address));
}

std::optional<Reason> judge_echo(const HostFacts& facts, const EchoProbe& probe) {
  switch (probe.outcome) {
    case ProbeOutcome::kAnswered:
      return std::nullopt;
    case ProbeOutcome::kSilent:
      return no_answer(facts, probe);
    case ProbeOutcome::kIcmpError:
      return refused_on_path(facts, probe);
    case ProbeOutcome::kRefused:
      break;
  }
  Reason reason =
      explain(facts, {Protocol::kIcmpEcho, facts.destination, 0}, probe.errno_value, probe.syscall);
  if (reason.cure == doctor_cure(facts.destination)) reason.cure = kFirewallCure;
  return reason;
}

std::optional<Reason> judge_nameserver_route(const HostFacts& facts, const Nameserver& server) {
  auto reason = judge_route(facts);
  if (!reason) return std::nullopt;
  reason->cause = Cause::kNameserverUnrouted;
  reason->fact = fmt::format("{} of {}: {}", to_string(server), facts.resolver.path, reason->fact);
  return reason;
}

std::optional<Reason> judge_nameserver(const HostFacts& facts, const Nameserver& server,
                                       const NameserverProbe& probe) {
  const std::string name = fmt::format("{} of {}", to_string(server), facts.resolver.path);
  const std::string cure = fmt::format("start a DNS server at {}, or name another in {}",
                                       to_string(server), facts.resolver.path);
  if (probe.outcome == ProbeOutcome::kAnswered) return std::nullopt;
  if (probe.outcome == ProbeOutcome::kSilent) {
    return Reason{Cause::kNameserverSilent, 0,
                  fmt::format("{} did not answer in {} s", name, probe.took_ns / kSecond_ns), cure};
  }
  if (probe.errno_value == ECONNREFUSED) {
    return Reason{Cause::kNameserverRefuses, ECONNREFUSED,
                  fmt::format("nobody listens at {} (ECONNREFUSED)", name), cure};
  }
  return explain(facts, {Protocol::kUdp, server.address, kDnsPort}, probe.errno_value,
                 probe.syscall);
}

std::string to_string(const Nameserver& server) {
  const std::string address = to_string(server.address);
  return server.scope.empty() ? address : fmt::format("{}%{}", address, server.scope);
}

std::string to_string(const Target& target) {
  const std::string address = to_string(target.address);
  if (target.protocol == Protocol::kIcmpEcho) return fmt::format("{} icmp echo", address);
  return fmt::format(fmt::runtime(target.address.v6 ? "[{}]:{} {}" : "{}:{} {}"), address,
                     target.port, protocol_name(target.protocol));
}

}  // namespace netstack
