// From facts to a Reason. The order of the questions is the order in which things must work: first
// a route, then the permission to use it, then an answer from the other side. A host without a
// route and without ping permission is told about the route: permission would not help it.
//
// An errno is never explained by facts that do not produce it. When sendto() says EACCES while the
// route is fine and ping is permitted, something this code does not know decided so (a firewall, a
// security module, a fact that changed since), and the reason says just that.

#include "netstack/reachability/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "netstack/base/error.h"
#include "netstack/reachability/wording.h"

namespace netstack {
namespace {

constexpr uint32_t kOverflowGroup = 65534;  // what ids without a mapping read as
constexpr uint16_t kDnsPort = 53;
constexpr std::string_view kFirewallCure =
    "\"nft list ruleset\" or \"iptables-save\", as root, show the rule";

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

std::string way_out(const RouteFact& route) {
  const std::string link = fmt::format("\"{}\"", route.link);
  return route.router ? fmt::format("via {} on {}", to_string(*route.router), link)
                      : fmt::format("on {}", link);
}

// router 10.1.0.1 of "eth0" / 10.1.0.7 on link "eth0"
std::string next_hop(const HostFacts& facts) {
  const RouteFact& route = facts.route;
  return route.router ? fmt::format("router {} of \"{}\"", to_string(*route.router), route.link)
                      : fmt::format("{} on link \"{}\"", to_string(facts.destination), route.link);
}

Reason silent_next_hop(const HostFacts& facts, int errno_value) {
  if (facts.route.neighbour == Neighbour::kDead || facts.route.neighbour == Neighbour::kAsked) {
    return {Cause::kNeighbourDead, errno_value,
            fmt::format("{} does not answer {} (neighbour state {})", next_hop(facts),
                        facts.destination.v6 ? "neighbour discovery" : "ARP",
                        facts.route.neighbour == Neighbour::kDead ? "FAILED" : "INCOMPLETE"),
            "bring that machine up, or mend the route"};
  }
  return {Cause::kHostUnreachable, errno_value,
          fmt::format("the route leads to {}, and nobody answers for the address there or a router "
                      "on the way says so (EHOSTUNREACH)",
                      next_hop(facts)),
          "check the address, and that its machine is up"};
}

std::string proxy_hint(const ProxyFact& proxy) {
  if (proxy.variable.empty()) return {};
  return fmt::format("; {} names {}, and the network may let programs out by that proxy only",
                     proxy.variable, proxy.server);
}

Reason no_answer(const HostFacts& facts, const std::string& what, uint64_t waited_ns,
                 int errno_value) {
  return {
      Cause::kNoAnswer, errno_value,
      fmt::format("{} left {} and nothing came back in {} s", what, way_out(facts.route),
                  waited_ns / kSecond_ns),
      "another destination, to tell a silent host from a silent path" + proxy_hint(facts.proxy)};
}

Reason no_descriptor(const HostFacts& facts, int errno_value) {
  if (errno_value == ENFILE) {
    return {Cause::kDescriptorsExhausted, errno_value,
            "this machine has no file descriptor left (ENFILE)", "sysctl fs.file-max, as root"};
  }
  return {Cause::kDescriptorsExhausted, errno_value,
          fmt::format("all {} file descriptors of the gateway are in use (EMFILE)",
                      facts.descriptors_max),
          "a higher hard limit (ulimit -Hn), or fewer flows at a time"};
}

bool is_lack_of_descriptors(int errno_value) {
  return errno_value == EMFILE || errno_value == ENFILE;
}

Reason socket_forbidden(std::string_view what, int errno_value) {
  return {Cause::kSocketsForbidden, errno_value,
          fmt::format("opening {} gave {} ({})", what, errno_name(errno_value),
                      errno_text(errno_value)),
          "look for a seccomp filter, security module or container runtime that denies such "
          "sockets"};
}

bool forbids_sockets(int errno_value) {
  return errno_value == EPERM || errno_value == EACCES || errno_value == EAFNOSUPPORT ||
         errno_value == EPROTONOSUPPORT || errno_value == ESOCKTNOSUPPORT || errno_value == ENOSYS;
}

bool has_address(const HostFacts& facts, bool v6) {
  return std::ranges::any_of(facts.links, [&](const LinkFact& link) {
    return !link.loopback && std::ranges::any_of(link.addresses, [&](const InterfaceAddress& own) {
      return own.address.v6 == v6 && !own.link_scope;
    });
  });
}

// What the errno says by itself where the host's route is good. Nothing: not enough.
std::optional<Reason> explain_errno(const HostFacts& facts, const Target& target, int errno_value,
                                    std::string_view syscall) {
  const RouteFact& route = facts.route;
  if (!route.known || route.errno_value != 0) return std::nullopt;
  if (errno_value == EHOSTUNREACH && !route.carrier) return judge_route(facts);
  switch (errno_value) {
    case EHOSTUNREACH:
      return silent_next_hop(facts, errno_value);
    case EPERM:
      return Reason{
          Cause::kFirewallDrops, errno_value,
          fmt::format("{} gave EPERM though {} has a route {}: this host's own firewall "
                      "(or a control group's filter) takes the packet away",
                      syscall.empty() ? std::string("sending") : fmt::format("{}()", syscall),
                      to_string(target.address), way_out(route)),
          std::string(kFirewallCure)};
    case EADDRNOTAVAIL:
      if (!has_address(facts, target.address.v6)) return std::nullopt;
      return Reason{Cause::kPortsExhausted, errno_value,
                    fmt::format("no local port is left for {} (EADDRNOTAVAIL)", to_string(target)),
                    "wait until flows end, or widen net.ipv4.ip_local_port_range"};
    case EMSGSIZE: {
      Reason reason{Cause::kPacketTooBig, errno_value,
                    fmt::format("it must not be fragmented, and the way {} carries at most {} "
                                "bytes (EMSGSIZE)",
                                way_out(route), route.mtu),
                    "smaller packets; --mtu tells guests an MTU"};
      reason.said = too_big_words(target.address.v6, route.mtu);
      return reason;
    }
    default:
      return std::nullopt;
  }
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
  const std::string what = fmt::format("an {} ping socket", version_name(v6));
  if (forbids_sockets(errno_value) && (errno_value != EACCES || ping.range)) {
    return socket_forbidden(what, errno_value);
  }
  return unknown(fmt::format("opening {} gave {} ({})", what, errno_name(errno_value),
                             errno_text(errno_value)),
                 errno_value, "strace -f -e socket shows the call");
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
  if (is_lack_of_descriptors(errno_value)) return no_descriptor(facts, errno_value);
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
  if (syscall == "socket" && forbids_sockets(errno_value)) {
    return socket_forbidden(fmt::format("an {} {} socket", version_name(target.address.v6),
                                        protocol_name(target.protocol)),
                            errno_value);
  }
  if (auto reason = explain_errno(facts, target, errno_value, syscall)) return std::move(*reason);
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
      if (facts.route.neighbour == Neighbour::kDead || facts.route.neighbour == Neighbour::kAsked) {
        return silent_next_hop(facts, 0);
      }
      return no_answer(facts, fmt::format("an echo request to {}", to_string(facts.destination)),
                       probe.took_ns, 0);
    case ProbeOutcome::kIcmpError:
      return judge_icmp_error(facts, {Protocol::kIcmpEcho, facts.destination, 0}, probe.error);
    case ProbeOutcome::kRefused:
      break;
  }
  Reason reason =
      explain(facts, {Protocol::kIcmpEcho, facts.destination, 0}, probe.errno_value, probe.syscall);
  if (reason.cause == Cause::kUnknown) {  // it is the doctor that asks: it need not be advised
    reason.cure = fmt::format("strace -f -e {} shows the call", probe.syscall);
  }
  return reason;
}

bool is_own_address(const HostFacts& facts, const IpAddress& address) {
  return address.is_loopback() || std::ranges::any_of(facts.links, [&](const LinkFact& link) {
           return std::ranges::any_of(
               link.addresses, [&](const InterfaceAddress& own) { return own.address == address; });
         });
}

Reason judge_icmp_error(const HostFacts& facts, const Target& target, const PathError& error) {
  return is_own_address(facts, error.offender) ? judge_local_error(facts, target, error)
                                               : judge_remote_error(target, error);
}

std::optional<Reason> judge_held_back(const HostFacts& facts, const Target& target) {
  const Neighbour neighbour = facts.route.neighbour;
  if (judge_route(facts) || neighbour == Neighbour::kDead || neighbour == Neighbour::kAsked) {
    return std::nullopt;
  }
  return Reason{Cause::kFirewallDrops, 0,
                fmt::format("none of the connection requests to {} has left (TCP_INFO) though it "
                            "has a route {}, and it is not the next hop that is silent: this "
                            "host's own firewall (or a control group's filter) takes them away",
                            to_string(target), way_out(facts.route)),
                std::string(kFirewallCure)};
}

Reason judge_timeout(const HostFacts& facts, const Target& target, uint64_t waited_ns) {
  if (auto route = judge_route(facts)) return std::move(*route);
  if (facts.route.neighbour == Neighbour::kDead) return silent_next_hop(facts, ETIMEDOUT);
  return no_answer(facts, to_string(target), waited_ns, ETIMEDOUT);
}

Reason judge_loss(const HostFacts& facts, const Target& target, int errno_value) {
  if (errno_value != ETIMEDOUT) return explain(facts, target, errno_value, "recv");
  if (auto route = judge_route(facts)) return std::move(*route);
  if (facts.route.neighbour == Neighbour::kDead) return silent_next_hop(facts, ETIMEDOUT);
  return {
      Cause::kNoAnswer, ETIMEDOUT,
      fmt::format("the connection to {} was open, and nothing that left {} has been acknowledged "
                  "until the host gave it up (ETIMEDOUT)",
                  to_string(target), way_out(facts.route)),
      "see whether that machine is still up; if only large transfers end so, a router drops big "
      "packets in silence: \"sysctl -w net.ipv4.tcp_mtu_probing=1\", as root"};
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
  const bool of_resolv_conf = facts.resolver.path.starts_with('/');  // not of --zone
  if (probe.errno_value == ECONNREFUSED && server.address.is_loopback() && of_resolv_conf) {
    return Reason{Cause::kStubResolver, ECONNREFUSED,
                  fmt::format("nobody listens at {} (ECONNREFUSED): a resolver there is not "
                              "running, or runs in another network namespace",
                              name),
                  fmt::format("name that resolver's own nameservers in {} (\"resolvectl dns\" "
                              "lists those of systemd-resolved)",
                              facts.resolver.path)};
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
  if (target.protocol == Protocol::kOther) {
    return fmt::format("{} protocol {}", address, target.port);
  }
  return fmt::format(fmt::runtime(target.address.v6 ? "[{}]:{} {}" : "{}:{} {}"), address,
                     target.port, protocol_name(target.protocol));
}

}  // namespace netstack
