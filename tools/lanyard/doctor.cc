// Runs the checks one after the other, then derives the verdict from them: reachable when every
// needed check is well, otherwise the cause is that of the first needed check that is not. The
// checks stand in the order in which things must work, so the first is the one to cure first.

#include "tools/lanyard/doctor.h"

#include <fmt/format.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/base/error.h"
#include "netstack/gateway/judge.h"
#include "netstack/gateway/probe.h"
#include "netstack/gateway/reachability.h"
#include "netstack/wire/dns.h"

namespace tools {
namespace {

using netstack::HostFacts;
using netstack::IpAddress;
using netstack::Reason;
using nlohmann::ordered_json;

constexpr uint64_t kProbeWait_ns = 2 * netstack::kSecond_ns;

constexpr const char* kPurpose = "Say whether a guest could reach the Internet, and if not, why";

constexpr const char* kDetails =
    "Without --to, three things must hold: a route for IPv4 (looked up for 8.8.8.8, to which\n"
    "nothing is sent), permission for ping sockets, and one nameserver of /etc/resolv.conf that\n"
    "answers a query within 2 s. A route for IPv6 is looked up too and does not decide.\n"
    "With --to: a route to ADDRESS, permission for ping sockets, and an answer to one echo\n"
    "request within 2 s.\n\n"
    "Exit status: 0 reachable, 1 not, 64 bad usage, 71 the kernel cannot be asked.";

struct Check {
  std::string id;     // stable, for machines
  std::string title;  // for people
  std::string fact;   // when it is well: what was found
  std::optional<Reason> reason;
  bool needed = true;
  std::string address = {};  // of a nameserver

  bool ok() const { return !reason; }
};

struct Verdict {
  std::string to;   // empty: the Internet
  bool v6 = false;  // how `to` is reached
  std::vector<Check> checks;

  const Check* failing() const {
    for (const Check& check : checks) {
      if (check.needed && !check.ok()) return &check;
    }
    return nullptr;
  }
};

double milliseconds(uint64_t ns) {
  return static_cast<double>(ns) / static_cast<double>(netstack::kMillisecond_ns);
}

Check check_route(const char* id, const char* title, const HostFacts& facts) {
  Check check{id, title, {}, netstack::judge_route(facts)};
  const netstack::RouteFact& route = facts.route;
  check.fact = fmt::format("{} on \"{}\"", to_string(facts.destination), route.link);
  if (route.router) {
    check.fact = fmt::format("{} via {} on \"{}\"", to_string(facts.destination),
                             to_string(*route.router), route.link);
  }
  if (!route.known) {
    check.reason = Reason{netstack::Cause::kUnknown, 0,
                          "the kernel did not answer the route lookup over rtnetlink",
                          "allow rtnetlink in the sandbox or seccomp filter"};
  }
  return check;
}

Check check_ping(const netstack::PingFacts& ping, bool v6) {
  return {"ping", "ping sockets", "permitted", netstack::judge_ping(ping, v6)};
}

Check check_nameserver(const netstack::Nameserver& server, const HostFacts& facts,
                       netstack::Clock& clock) {
  Check check{"nameserver", "nameserver", {}, netstack::judge_nameserver_route(facts, server)};
  check.address = to_string(server);
  if (check.reason) return check;
  const auto probe = netstack::probe_nameserver(server, kProbeWait_ns, clock);
  check.reason = netstack::judge_nameserver(facts, server, probe);
  check.fact = fmt::format("{} answers in {:.1f} ms", check.address, milliseconds(probe.took_ns));
  if (probe.response_code != netstack::kDnsNoError) {
    check.fact += fmt::format(" ({})", netstack::dns_rcode_name(probe.response_code));
  }
  return check;
}

// One answering nameserver is enough: then the others do not decide.
void check_nameservers(netstack::Reachability& reachability,
                       const netstack::ResolverFacts& resolver, netstack::Clock& clock,
                       std::vector<Check>& checks) {
  if (auto reason = netstack::judge_resolver(resolver)) {
    checks.push_back({"nameserver", "nameserver", {}, std::move(reason)});
    return;
  }
  const size_t first = checks.size();
  bool one_answers = false;
  for (const auto& server : resolver.nameservers) {
    checks.push_back(check_nameserver(server, reachability.facts(server.address), clock));
    one_answers = one_answers || checks.back().ok();
  }
  for (size_t at = first; at < checks.size(); ++at) {
    checks[at].needed = checks[at].ok() || !one_answers;
  }
}

Verdict judge_internet(netstack::Reachability& reachability, netstack::Clock& clock) {
  const HostFacts facts4 = reachability.facts(netstack::internet_example(false));
  const HostFacts facts6 = reachability.facts(netstack::internet_example(true));
  Verdict verdict;
  verdict.checks.push_back(check_route("ipv4-route", "IPv4 route", facts4));
  verdict.checks.push_back(check_route("ipv6-route", "IPv6 route", facts6));
  verdict.checks.back().needed = false;
  verdict.checks.push_back(check_ping(facts4.ping, false));
  check_nameservers(reachability, facts4.resolver, clock, verdict.checks);
  return verdict;
}

Verdict judge_address(netstack::Reachability& reachability, const IpAddress& address,
                      netstack::Clock& clock) {
  const HostFacts facts = reachability.facts(address);
  Verdict verdict{to_string(address), address.v6, {}};
  verdict.checks.push_back(check_route("route", "route", facts));
  verdict.checks.push_back(check_ping(facts.ping, address.v6));
  if (verdict.failing() != nullptr) return verdict;
  const auto probe = netstack::probe_echo(address, kProbeWait_ns, clock);
  verdict.checks.push_back(
      {"echo", "echo reply",
       fmt::format("{} answers in {:.1f} ms", verdict.to, milliseconds(probe.took_ns)),
       netstack::judge_echo(facts, probe)});
  return verdict;
}

// --- output -----------------------------------------------------------------------------------

// Where nothing came back, the gateway has nothing to pass on.
bool is_silence(const Reason& reason) {
  return reason.cause == netstack::Cause::kNoAnswer ||
         reason.cause == netstack::Cause::kNameserverSilent;
}

std::string_view guest_is_told(const Reason& reason, bool v6) {
  const netstack::IcmpAnswer& answer = netstack::cause_row(reason.cause).answer;
  return v6 ? answer.phrase6 : answer.phrase4;
}

void put_reason(ordered_json& out, const std::optional<Reason>& reason) {
  out["cause"] = nullptr;
  out["cure"] = nullptr;
  out["errno"] = nullptr;
  if (!reason) return;
  out["cause"] = netstack::cause_row(reason->cause).id;
  out["fact"] = reason->fact;
  if (!reason->cure.empty()) out["cure"] = reason->cure;
  if (reason->errno_value != 0) out["errno"] = netstack::errno_name(reason->errno_value);
}

std::string as_json(const Verdict& verdict) {
  const Check* failing = verdict.failing();
  ordered_json out;
  out["reachable"] = failing == nullptr;
  out["to"] = verdict.to.empty() ? ordered_json(nullptr) : ordered_json(verdict.to);
  out["guest_told"] = nullptr;
  out["fact"] = nullptr;
  if (failing != nullptr && !is_silence(*failing->reason)) {
    out["guest_told"] = guest_is_told(*failing->reason, verdict.v6);
  }
  put_reason(out, failing != nullptr ? failing->reason : std::nullopt);
  out["checks"] = ordered_json::array();
  for (const Check& check : verdict.checks) {
    ordered_json one;
    one["id"] = check.id;
    if (!check.address.empty()) one["address"] = check.address;
    one["ok"] = check.ok();
    one["needed"] = check.needed;
    one["fact"] = check.fact;
    put_reason(one, check.reason);
    out["checks"].push_back(std::move(one));
  }
  // A path in a fact may hold bytes that are not UTF-8.
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

struct Colours {
  const char* good = "";
  const char* bad = "";
  const char* plain = "";
};

Colours colours_of_stdout() {
  const char* refused = std::getenv("NO_COLOR");  // https://no-color.org
  if (::isatty(STDOUT_FILENO) == 0 || (refused != nullptr && *refused != '\0')) return {};
  return {"\033[32m", "\033[31m", "\033[0m"};
}

std::string line_of(const Check& check, const Colours& colours) {
  std::string text = check.fact;
  if (check.reason) {
    text =
        fmt::format("{}: {}", netstack::cause_row(check.reason->cause).title, check.reason->fact);
    if (!check.needed) text += " (does not decide)";
  }
  return fmt::format("{}{}{} {:<12}  {}\n", check.ok() ? colours.good : colours.bad,
                     check.ok() ? "✓" : "✗", colours.plain, check.title, text);
}

std::string as_text(const Verdict& verdict, const Colours& colours) {
  std::string out;
  for (const Check& check : verdict.checks) out += line_of(check, colours);
  const std::string what = verdict.to.empty() ? "the Internet" : verdict.to;
  const Check* failing = verdict.failing();
  if (failing == nullptr) {
    return out + fmt::format("{} is reachable.\n", what);
  }
  const std::string told =
      is_silence(*failing->reason)
          ? "A guest is told nothing and waits"
          : fmt::format("A guest is told \"{}\"", guest_is_told(*failing->reason, verdict.v6));
  out += fmt::format("{} is not reachable: {}. {}.\n", what,
                     netstack::cause_row(failing->reason->cause).title, told);
  std::vector<std::string> said;
  for (const Check& check : verdict.checks) {
    if (!check.needed || check.ok() || check.reason->cure.empty()) continue;
    if (std::find(said.begin(), said.end(), check.reason->cure) != said.end()) continue;
    out += fmt::format("{}: {}.\n", said.empty() ? "Try" : "Then", check.reason->cure);
    said.push_back(check.reason->cure);
  }
  return out;
}

struct Options {
  std::optional<std::string> to;
  bool json = false;
};

int examine(const Options& options) {
  std::optional<IpAddress> address;
  if (options.to) {
    address = IpAddress::parse(*options.to);
    if (!address) {
      throw netstack::Error(EX_USAGE,
                            fmt::format("cannot examine \"{}\": it is no IPv4 or IPv6 address; "
                                        "give one such as 8.8.8.8",
                                        *options.to));
    }
  }
  netstack::Reachability reachability;
  netstack::SystemClock clock;
  const Verdict verdict =
      address ? judge_address(reachability, *address, clock) : judge_internet(reachability, clock);
  const std::string out = options.json ? as_json(verdict) : as_text(verdict, colours_of_stdout());
  if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0) {
    throw netstack::host_error(errno, "write the verdict to stdout", "", EX_IOERR);
  }
  return verdict.failing() == nullptr ? EX_OK : 1;
}

}  // namespace

void add_doctor_command(CLI::App& app, int& status) {
  auto options = std::make_shared<Options>();
  CLI::App* doctor = app.add_subcommand("doctor", kPurpose);
  doctor->footer(kDetails);
  CLI::Option* to =
      doctor->add_option("--to", options->to, "Judge this IPv4 or IPv6 address instead");
  to->type_name("ADDRESS");
  doctor->add_flag("--json", options->json, "One JSON object instead of text");
  doctor->callback([options, &status] { status = examine(*options); });
}

}  // namespace tools
