// Why a packet would not leave: the route lookup's errno decides the class, links and addresses
// tell the cases apart that share ENETUNREACH. Only what was found is named.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "netstack/base/counted.h"
#include "netstack/base/error.h"
#include "netstack/reachability/judge.h"
#include "netstack/reachability/wording.h"

namespace netstack {
namespace {

// Came with the namespace and nobody has used it.
bool is_idle_tunnel(const LinkFact& link) {
  return link.tunnel && !link.up && link.addresses.empty();
}

bool has_only_loopback(const HostFacts& facts) {
  return facts.links_known && !facts.links.empty() &&
         std::all_of(facts.links.begin(), facts.links.end(),
                     [](const LinkFact& link) { return link.loopback || is_idle_tunnel(link); });
}

bool has_address(const HostFacts& facts, bool v6) {
  return std::any_of(facts.links.begin(), facts.links.end(), [&](const LinkFact& link) {
    return !link.loopback &&
           std::any_of(link.addresses.begin(), link.addresses.end(),
                       [&](const InterfaceAddress& own) { return own.address.v6 == v6; });
  });
}

// (a Nix build sandbox: NIX_BUILD_TOP is set)
std::string nix_sign(const NixFacts& nix) {
  if (nix.output_checked) return " (a Nix fixed-output build: NIX_OUTPUT_CHECKED is set)";
  if (nix.build_top) return " (a Nix build sandbox: NIX_BUILD_TOP is set)";
  if (!nix.sandbox_home) return {};
  return " (a Nix build sandbox: NIX_STORE is set and HOME is /homeless-shelter)";
}

std::string nix_cure(const NixFacts& nix) {
  if (nix.output_checked) {
    return "give the Nix daemon's host a network, which a fixed-output build shares";
  }
  if (nix.build_top || nix.sandbox_home) {
    return "--option sandbox false, or keep the test offline";
  }
  return "start it in a network namespace with a way out, add a link to this one (veth, pasta), "
         "or keep the test offline";
}

Reason only_loopback(const HostFacts& facts) {
  std::vector<std::string> loopbacks;
  std::vector<std::string> tunnels;
  for (const LinkFact& link : facts.links) {
    (link.loopback ? loopbacks : tunnels).push_back(quoted(link.name));
  }
  std::string idle;
  if (!tunnels.empty()) {
    idle =
        fmt::format(" and unused {} {}", in_number(tunnels.size(), "tunnel"), enumerate(tunnels));
  }
  return {facts.nix.output_checked ? Cause::kFixedOutputOffline : Cause::kOnlyLoopback,
          facts.route.errno_value,
          fmt::format("this network namespace has only {}{}{}", enumerate(loopbacks), idle,
                      nix_sign(facts.nix)),
          nix_cure(facts.nix)};
}

// "eth0" (10.1.0.2/24, no carrier)
std::string describe_up_link(const LinkFact& link, bool v6) {
  std::vector<std::string> remarks;
  for (const InterfaceAddress& own : link.addresses) {
    if (own.address.v6 != v6 || own.link_scope) continue;
    remarks.push_back(fmt::format("{}/{}", to_string(own.address), own.prefix_bits));
  }
  if (remarks.empty()) remarks.push_back(fmt::format("no {} address", version_name(v6)));
  if (!link.carrier) remarks.push_back("no carrier");
  return fmt::format("\"{}\" ({})", link.name, fmt::join(remarks, ", "));
}

// link "eth0" (10.1.0.2/24) is up / links "eth0" and "eth1" are down
std::string link_clause(const std::vector<std::string>& links, std::string_view state) {
  return fmt::format("{} {} {} {}", in_number(links.size(), "link"), enumerate(links),
                     links.size() == 1 ? "is" : "are", state);
}

// A "throw" route ends the search in its table, and no later table had a route either.
Reason thrown(const HostFacts& facts) {
  const std::string& route = facts.route.refusing_route;
  return {Cause::kNoDefaultRoute, facts.route.errno_value,
          fmt::format("route \"{}\" covers {} and no other table has a route", route,
                      to_string(facts.destination)),
          fmt::format("ip {}route del {} (as root in this network namespace)",
                      facts.destination.v6 ? "-6 " : "", route)};
}

Reason no_default_route(const HostFacts& facts) {
  const IpAddress& destination = facts.destination;
  std::vector<std::string> up;
  std::vector<std::string> down;
  for (const LinkFact& link : facts.links) {
    if (link.loopback || is_idle_tunnel(link)) continue;
    if (link.up) {
      up.push_back(describe_up_link(link, destination.v6));
    } else {
      down.push_back(quoted(link.name));
    }
  }
  std::string fact = fmt::format("no route leads to {}", to_string(destination));
  if (!up.empty()) fact = fmt::format("{} but {}", link_clause(up, "up"), fact);
  if (!down.empty()) {
    fact = up.empty() ? fmt::format("{} and {}", link_clause(down, "down"), fact)
                      : fmt::format("{}; {}", fact, link_clause(down, "down"));
  }
  if (facts.other_family.known && facts.other_family.errno_value == 0) {
    fact += fmt::format("; {} has a route", version_name(!destination.v6));
  }
  std::string cure = fmt::format(
      "ip {}route add default via ROUTER (as root in this network "
      "namespace)",
      destination.v6 ? "-6 " : "");
  if (up.empty() && !down.empty()) {
    cure = fmt::format(
        "ip link set {} up (as root in this network namespace), then add addresses "
        "and a route",
        down.size() == 1 ? down.front() : std::string("LINK"));
  }
  return {Cause::kNoDefaultRoute, facts.route.errno_value, fact, cure};
}

Reason ipv6_only(const HostFacts& facts) {
  std::vector<std::string> up;
  for (const LinkFact& link : facts.links) {
    if (!link.loopback && link.up) up.push_back(describe_up_link(link, true));
  }
  return {Cause::kIpv6Only, facts.route.errno_value,
          fmt::format("this network namespace has IPv6 only: {}no IPv4 address, and no route leads "
                      "to {}",
                      up.empty() ? std::string{} : link_clause(up, "up") + ", ",
                      to_string(facts.destination)),
          "an IPv6 destination, or give this network namespace an IPv4 address and default route"};
}

Reason proxy_only(const HostFacts& facts) {
  Reason reason = no_default_route(facts);
  reason.cause = Cause::kProxyOnly;
  reason.fact += fmt::format("; {} names {}", facts.proxy.variable, facts.proxy.server);
  reason.cure = fmt::format("set {} in the guest{}", facts.proxy.variable,
                            facts.proxy.local ? ", with the gateway's address, which stands for "
                                                "this host's loopback"
                                              : "");
  return reason;
}

std::optional<Reason> carrier_lost(const HostFacts& facts) {
  const RouteFact& route = facts.route;
  return Reason{Cause::kCarrierLost, 0,
                fmt::format("the route to {} leaves by link \"{}\", which has no carrier",
                            to_string(facts.destination), route.link),
                fmt::format("bring up what \"{}\" is plugged into", route.link)};
}

struct RefusingType {
  int errno_value;
  Cause cause;
  std::string_view word;
};
constexpr auto kRefusingTypes = std::to_array<RefusingType>({
    {EHOSTUNREACH, Cause::kRouteUnreachable, "unreachable"},
    {EACCES, Cause::kRouteProhibit, "prohibit"},
    {EINVAL, Cause::kRouteBlackhole, "blackhole"},
});

Reason refusing_route(const HostFacts& facts, const RefusingType& type) {
  const std::string destination = to_string(facts.destination);
  const std::string& route = facts.route.refusing_route;
  const char* version = facts.destination.v6 ? "-6 " : "";
  if (const std::string& rule = facts.route.refusing_rule; !rule.empty()) {
    return {type.cause, facts.route.errno_value,
            fmt::format("rule \"{}\" covers {} ({})", rule, destination,
                        errno_name(facts.route.errno_value)),
            fmt::format("ip {}rule del priority {} (as root in this network namespace)", version,
                        rule.substr(0, rule.find(':')))};
  }
  if (route.empty()) {
    return {type.cause, type.errno_value,
            fmt::format("a \"{}\" route or rule covers {} ({})", type.word, destination,
                        errno_name(type.errno_value)),
            fmt::format("find it with \"ip {}rule\" and \"ip {}route show table all\", and delete "
                        "it",
                        version, version)};
  }
  return {
      type.cause, type.errno_value,
      fmt::format("route \"{}\" covers {} ({})", route, destination, errno_name(type.errno_value)),
      fmt::format("ip {}route del {} (as root in this network namespace)", version, route)};
}

}  // namespace

std::optional<Reason> judge_route(const HostFacts& facts) {
  const RouteFact& route = facts.route;
  if (!route.known) return std::nullopt;
  if (route.errno_value == 0) return route.carrier ? std::nullopt : carrier_lost(facts);
  for (const RefusingType& type : kRefusingTypes) {
    if (type.errno_value == route.errno_value) return refusing_route(facts, type);
  }
  if (route.errno_value != ENETUNREACH) {
    const std::string destination = to_string(facts.destination);
    return Reason{Cause::kUnknown, route.errno_value,
                  fmt::format("the route lookup for {} gave {} ({})", destination,
                              errno_name(route.errno_value), errno_text(route.errno_value)),
                  fmt::format("ip route get {}", destination)};
  }
  if (!route.refusing_route.empty()) return thrown(facts);
  if (!route.refusing_rule.empty()) return refusing_route(facts, kRefusingTypes.front());
  if (has_only_loopback(facts)) return only_loopback(facts);
  const bool other_works = facts.other_family.known && facts.other_family.errno_value == 0;
  if (!facts.destination.v6 && other_works && facts.links_known && !has_address(facts, false)) {
    return ipv6_only(facts);
  }
  return facts.proxy.variable.empty() ? no_default_route(facts) : proxy_only(facts);
}

}  // namespace netstack
