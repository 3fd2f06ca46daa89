#include "netstack/reachability/reachability.h"

#include <fmt/format.h>
#include <net/if.h>

#include <utility>

#include "netstack/reachability/judge.h"
#include "netstack/reachability/own_address.h"
#include "netstack/reachability/route_query.h"

namespace netstack {

class Reachability::Impl {
 public:
  explicit Impl(HostSources sources) : sources_(std::move(sources)) {}

  HostFacts facts(const IpAddress& destination) {
    return gather_facts(query_, sources_, destination);
  }

  // The rest is gathered only when the lookup fails: the gateway asks for each new destination.
  RouteVerdict judge_route(const IpAddress& destination) {
    const RouteFact route = query_.lookup(destination);
    const auto failed = facts_if_broken(route, destination);
    if (failed) return {.reason = netstack::judge_route(*failed)};
    return {.reason = std::nullopt, .mtu = route.mtu, .link = route.link};
  }

  std::optional<Reason> judge_ping(bool v6) {
    return netstack::judge_ping(gather_ping(sources_), v6);
  }

  std::optional<Reason> judge_nameservers() {
    const ResolverFacts resolver = gather_resolver(sources_);
    if (auto reason = judge_resolver(resolver)) return reason;
    std::optional<Reason> first;
    for (const Nameserver& server : resolver.nameservers) {
      const unsigned link = server.scope.empty() ? 0 : ::if_nametoindex(server.scope.c_str());
      const RouteFact route = query_.lookup(server.address, static_cast<int>(link));
      const auto failed = facts_if_broken(route, server.address);
      if (!failed) return std::nullopt;
      if (!first) first = judge_nameserver_route(*failed, server);
    }
    return first;
  }

 private:
  // Nothing: the kernel has a route, or cannot be asked.
  std::optional<HostFacts> facts_if_broken(const RouteFact& route, const IpAddress& destination) {
    if (!route.known || (route.errno_value == 0 && route.carrier)) return std::nullopt;
    HostFacts all = facts(destination);
    all.route = route;
    return all;
  }

  HostSources sources_;
  RouteQuery query_;
};

Reachability::Reachability(HostSources sources)
    : impl_(std::make_unique<Impl>(std::move(sources))) {}
Reachability::~Reachability() = default;

RouteVerdict Reachability::judge_route(const IpAddress& destination) {
  return impl_->judge_route(destination);
}

std::optional<Reason> Reachability::judge_ping(bool v6) {
  return impl_->judge_ping(v6);
}

Reason Reachability::explain(const Target& target, int errno_value, std::string_view syscall) {
  return netstack::explain(impl_->facts(target.address), target, errno_value, syscall);
}

// Facts are for errors of this host's own: to gather them takes longer than to write the answer,
// and a router's words need none.
Reason Reachability::explain(const Target& target, const PathError& error) {
  if (!is_own_address(error.offender)) return judge_remote_error(target, error);
  return judge_local_error(impl_->facts(target.address), target, error);
}

Reason Reachability::explain_timeout(const Target& target, uint64_t waited_ns) {
  return judge_timeout(impl_->facts(target.address), target, waited_ns);
}

Reason Reachability::explain_loss(const Target& target, int errno_value) {
  return judge_loss(impl_->facts(target.address), target, errno_value);
}

std::optional<Reason> Reachability::explain_held_back(const Target& target) {
  return judge_held_back(impl_->facts(target.address), target);
}

std::optional<Reason> Reachability::judge_nameservers() {
  return impl_->judge_nameservers();
}

HostFacts Reachability::facts(const IpAddress& destination) {
  return impl_->facts(destination);
}

std::string explain_line(const IpAddress& guest, const Target& target, const Reason& reason,
                         std::string_view told) {
  const CauseRow& row = cause_row(reason.cause);
  const std::string phrase =
      told.empty() ? told_to_guest(reason, target.address.v6) : std::string(told);
  std::string line = fmt::format("{} → {}: {}: {}. The guest is told {}.", to_string(guest),
                                 to_string(target), row.title, reason.fact,
                                 phrase == "nothing" ? phrase : fmt::format("\"{}\"", phrase));
  if (!reason.cure.empty()) line += fmt::format(" Try: {}.", reason.cure);
  return line;
}

}  // namespace netstack
