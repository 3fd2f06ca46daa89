#include "tools/doctor/outlook.h"

#include <fmt/format.h>

#include "netstack/reachability/judge.h"
#include "netstack/reachability/probe.h"
#include "netstack/wire/dns.h"

namespace tools {

using netstack::HostFacts;
using netstack::IpAddress;
using netstack::Reason;

namespace {

constexpr uint64_t kProbeWait_ns = 2 * netstack::kSecond_ns;

double milliseconds(uint64_t ns) {
  return static_cast<double>(ns) / static_cast<double>(netstack::kMillisecond_ns);
}

Finding check_route(const char* id, const char* title, const HostFacts& facts) {
  const netstack::RouteFact& route = facts.route;
  const bool v6 = facts.destination.v6;
  Finding check{id, title, fmt::format("{} on \"{}\"", to_string(facts.destination), route.link)};
  if (route.router) {
    check.fact = fmt::format("{} via {} on \"{}\"", to_string(facts.destination),
                             to_string(*route.router), route.link);
  }
  if (!route.known) {
    take_reason(
        check,
        {netstack::Cause::kUnknown, 0, "the kernel did not answer the route lookup over rtnetlink",
         "allow rtnetlink in the sandbox or seccomp filter"},
        v6);
  } else if (const auto reason = netstack::judge_route(facts)) {
    take_reason(check, *reason, v6);
  }
  return check;
}

Finding check_ping(const netstack::PingFacts& ping, bool v6) {
  Finding check{"ping", "ping sockets", "permitted"};
  if (const auto reason = netstack::judge_ping(ping, v6)) take_reason(check, *reason, v6);
  return check;
}

Finding check_nameserver(const netstack::Nameserver& server, const HostFacts& facts,
                         netstack::Clock& clock, bool asks) {
  Finding check{"nameserver", "nameserver", {}};
  check.address = to_string(server);
  std::optional<Reason> reason = netstack::judge_nameserver_route(facts, server);
  if (!reason && asks) {
    const auto probe = netstack::probe_nameserver(server, kProbeWait_ns, clock);
    reason = netstack::judge_nameserver(facts, server, probe);
    check.fact = fmt::format("{} answers in {:.1f} ms", check.address, milliseconds(probe.took_ns));
    if (probe.response_code != netstack::kDnsNoError) {
      check.fact += fmt::format(" ({})", netstack::dns_rcode_name(probe.response_code));
    }
  } else if (!reason) {
    check.fact = fmt::format("{} has a route; it was not asked (--probe asks it)", check.address);
  }
  if (reason) take_reason(check, *reason, false);
  return check;
}

// One that does is enough: then the others do not decide.
void check_nameservers(netstack::Reachability& reachability,
                       const netstack::ResolverFacts& resolver, netstack::Clock& clock, bool asks,
                       Findings& checks) {
  if (const auto reason = netstack::judge_resolver(resolver)) {
    checks.push_back({"nameserver", "nameserver", {}});
    return take_reason(checks.back(), *reason, false);
  }
  const size_t first = checks.size();
  bool one_does = false;
  for (const auto& server : resolver.nameservers) {
    checks.push_back(check_nameserver(server, reachability.facts(server.address), clock, asks));
    one_does = one_does || checks.back().ok;
  }
  for (size_t at = first; at < checks.size(); ++at) {
    checks[at].needed = checks[at].ok || !one_does;
  }
}

}  // namespace

Outlook judge_internet(netstack::Reachability& reachability, netstack::Clock& clock,
                       bool asks_nameservers) {
  const HostFacts facts4 = reachability.facts(netstack::internet_example(false));
  const HostFacts facts6 = reachability.facts(netstack::internet_example(true));
  Outlook outlook;
  outlook.checks.push_back(check_route("ipv4-route", "IPv4 route", facts4));
  outlook.checks.push_back(check_route("ipv6-route", "IPv6 route", facts6));
  outlook.checks.back().needed = false;
  outlook.checks.push_back(check_ping(facts4.ping, false));
  check_nameservers(reachability, facts4.resolver, clock, asks_nameservers, outlook.checks);
  return outlook;
}

Outlook judge_address(netstack::Reachability& reachability, const IpAddress& address,
                      netstack::Clock& clock) {
  const HostFacts facts = reachability.facts(address);
  Outlook outlook{to_string(address), {}};
  outlook.checks.push_back(check_route("route", "route", facts));
  outlook.checks.push_back(check_ping(facts.ping, address.v6));
  if (outlook.failing() != nullptr) return outlook;
  const auto probe = netstack::probe_echo(address, kProbeWait_ns, clock);
  Finding echo{"echo", "echo reply",
               fmt::format("{} answers in {:.1f} ms", outlook.to, milliseconds(probe.took_ns))};
  if (const auto reason = netstack::judge_echo(reachability.facts(address), probe)) {
    take_reason(echo, *reason, address.v6);
  }
  outlook.checks.push_back(std::move(echo));
  return outlook;
}

}  // namespace tools
