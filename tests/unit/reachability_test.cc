// Judgements are tested by writing the facts down: no namespaces, no privilege. What the kernel
// really answers is the matter of tests/system/test_doctor.py.
#include "netstack/reachability/reachability.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netstack/reachability/judge.h"
#include "netstack/reachability/wording.h"
#include "tests/unit/facts_fixture.h"

using namespace tests;

// --- the line -----------------------------------------------------------------------------------

TEST_CASE("the line of the log in a Nix build sandbox") {
  HostFacts facts = only_lo();
  facts.nix.build_top = true;
  const auto reason = judge_route(facts);
  REQUIRE(reason);
  CHECK(explain_line(ip("10.0.2.15"), echo("8.8.8.8"), *reason) ==
        "10.0.2.15 → 8.8.8.8 icmp echo: no route: this network namespace has only \"lo\" (a Nix "
        "build sandbox: NIX_BUILD_TOP is set). The guest is told \"Destination Net Unreachable\". "
        "Try: --option sandbox false, or keep the test offline.");
}

// --- routes -------------------------------------------------------------------------------------

TEST_CASE("a route that exists, or a kernel that cannot be asked, gives no reason") {
  CHECK_FALSE(judge_route(healthy("8.8.8.8")));
  HostFacts facts = healthy("8.8.8.8");
  facts.route = {};
  facts.links = {loopback()};
  CHECK_FALSE(judge_route(facts));
}

TEST_CASE("routes: cause, fact and cure from errno, links and signs") {
  struct Row {
    const char* name;
    HostFacts facts;
    Cause cause;
    const char* fact;
    const char* cure_part;
  };
  std::vector<Row> rows;
  const auto row = [&](const char* name, HostFacts facts, Cause cause, const char* fact,
                       const char* cure_part) {
    rows.push_back({name, std::move(facts), cause, fact, cure_part});
  };
  const auto no_route = [](const char* destination, std::vector<LinkFact> links) {
    HostFacts facts = only_lo(destination);
    facts.links.insert(facts.links.end(), links.begin(), links.end());
    return facts;
  };
  const LinkFact eth0 = ethernet("eth0", {{ip("10.1.0.2"), 24, false}});
  const LinkFact eth6 = ethernet("eth0", {{ip("fe80::1"), 64, true}, {ip("fd00::2"), 64, false}});

  row("plain namespace", only_lo(), Cause::kOnlyLoopback, "this network namespace has only \"lo\"",
      "a network namespace with a way out");
  HostFacts nix_home = only_lo();
  nix_home.nix.sandbox_home = true;
  row("nix without build top", nix_home, Cause::kOnlyLoopback,
      "this network namespace has only \"lo\" (a Nix build sandbox: NIX_STORE is set and HOME is "
      "/homeless-shelter)",
      "--option sandbox false");
  HostFacts fixed = only_lo();
  fixed.nix.build_top = fixed.nix.output_checked = true;
  row("fixed output", fixed, Cause::kFixedOutputOffline,
      "this network namespace has only \"lo\" (a Nix fixed-output build: NIX_OUTPUT_CHECKED is "
      "set)",
      "Nix daemon's host");
  LinkFact sit0 = down(ethernet("sit0", {}));
  sit0.tunnel = true;
  row("idle tunnel", no_route("8.8.8.8", {sit0}), Cause::kOnlyLoopback,
      "this network namespace has only \"lo\" and unused tunnel \"sit0\"", "way out");
  row("IPv6 in a plain namespace", only_lo("2001:db8::1"), Cause::kOnlyLoopback,
      "this network namespace has only \"lo\"", "way out");

  row("connected only", no_route("8.8.8.8", {eth0}), Cause::kNoDefaultRoute,
      "link \"eth0\" (10.1.0.2/24) is up but no route leads to 8.8.8.8",
      "ip route add default via ROUTER");
  HostFacts nix_eth = no_route("8.8.8.8", {eth0});
  nix_eth.nix.build_top = true;
  row("a sign of Nix explains no missing default route", nix_eth, Cause::kNoDefaultRoute,
      "link \"eth0\" (10.1.0.2/24) is up but no route leads to 8.8.8.8", "ip route add default");
  row("two links", no_route("8.8.8.8", {eth0, ethernet("eth1", {})}), Cause::kNoDefaultRoute,
      "links \"eth0\" (10.1.0.2/24) and \"eth1\" (no IPv4 address) are up but no route leads to "
      "8.8.8.8",
      "default via");
  row("one is down", no_route("8.8.8.8", {eth0, down(ethernet("eth1", {}))}),
      Cause::kNoDefaultRoute,
      "link \"eth0\" (10.1.0.2/24) is up but no route leads to 8.8.8.8; link \"eth1\" is down",
      "default via");
  row("all are down", no_route("8.8.8.8", {down(eth0)}), Cause::kNoDefaultRoute,
      "link \"eth0\" is down and no route leads to 8.8.8.8", "ip link set \"eth0\" up");
  LinkFact unplugged = eth0;
  unplugged.carrier = false;
  row("no carrier", no_route("8.8.8.8", {unplugged}), Cause::kNoDefaultRoute,
      "link \"eth0\" (10.1.0.2/24, no carrier) is up but no route leads to 8.8.8.8", "default via");
  HostFacts no_v6 = no_route("2001:db8::1", {eth0});
  no_v6.other_family = routed("10.1.0.1", "eth0");
  row("IPv4 works, IPv6 does not", no_v6, Cause::kNoDefaultRoute,
      "link \"eth0\" (no IPv6 address) is up but no route leads to 2001:db8::1; IPv4 has a route",
      "ip -6 route add default");
  HostFacts unknown_links = only_lo();
  unknown_links.links.clear();
  unknown_links.links_known = false;
  row("links that could not be listed are not said to be missing", unknown_links,
      Cause::kNoDefaultRoute, "no route leads to 8.8.8.8", "default via");

  HostFacts v6_only = no_route("8.8.8.8", {eth6});
  v6_only.other_family = routed("fd00::1", "eth0");
  row("IPv6 only", v6_only, Cause::kIpv6Only,
      "this network namespace has IPv6 only: link \"eth0\" (fd00::2/64) is up, no IPv4 address, "
      "and no route leads to 8.8.8.8",
      "an IPv6 destination");
  HostFacts v6_lost = no_route("8.8.8.8", {eth6});
  row("IPv6 addresses without a route are not IPv6 only", v6_lost, Cause::kNoDefaultRoute,
      "link \"eth0\" (no IPv4 address) is up but no route leads to 8.8.8.8", "default via");

  const auto refusing = [](const char* destination, int errno_value, const char* route) {
    HostFacts facts = healthy(destination);
    facts.route = refused(errno_value, route);
    return facts;
  };
  row("prohibit", refusing("8.8.8.8", EACCES, "prohibit 8.8.8.0/24"), Cause::kRouteProhibit,
      "route \"prohibit 8.8.8.0/24\" covers 8.8.8.8 (EACCES)", "ip route del prohibit 8.8.8.0/24");
  row("a prohibiting rule", refusing("8.8.8.8", EACCES, ""), Cause::kRouteProhibit,
      "a \"prohibit\" route or rule covers 8.8.8.8 (EACCES)", "\"ip rule\"");
  row("unreachable", refusing("8.8.8.8", EHOSTUNREACH, "unreachable default"),
      Cause::kRouteUnreachable, "route \"unreachable default\" covers 8.8.8.8 (EHOSTUNREACH)",
      "ip route del unreachable default");
  row("blackhole, IPv6", refusing("2001:db8::1", EINVAL, "blackhole 2001:db8::/32"),
      Cause::kRouteBlackhole, "route \"blackhole 2001:db8::/32\" covers 2001:db8::1 (EINVAL)",
      "ip -6 route del blackhole");
  row("throw", refusing("8.8.8.8", ENETUNREACH, "throw 8.0.0.0/8"), Cause::kNoDefaultRoute,
      "route \"throw 8.0.0.0/8\" covers 8.8.8.8 and no other table has a route",
      "ip route del throw");
  HostFacts rule = refusing("8.8.8.8", ENETUNREACH, "");
  rule.route.refusing_rule = "100: to 8.8.8.8/32 unreachable";
  row("an unreachable rule is no missing route", rule, Cause::kRouteUnreachable,
      "rule \"100: to 8.8.8.8/32 unreachable\" covers 8.8.8.8 (ENETUNREACH)",
      "ip rule del priority 100");
  HostFacts proxy = no_route("8.8.8.8", {eth0});
  proxy.proxy = {"https_proxy", "proxy.example:3128", false};
  row("a proxy is named", proxy, Cause::kProxyOnly,
      "link \"eth0\" (10.1.0.2/24) is up but no route leads to 8.8.8.8; https_proxy names "
      "proxy.example:3128",
      "set https_proxy in the guest");
  HostFacts sandbox_proxy = only_lo();
  sandbox_proxy.proxy = {"https_proxy", "proxy.example:3128", false};
  row("a proxy is no way out of a sandbox", sandbox_proxy, Cause::kOnlyLoopback,
      "this network namespace has only \"lo\"", "way out");
  HostFacts cut = healthy("8.8.8.8");
  cut.route.carrier = false;
  row("carrier lost", cut, Cause::kCarrierLost,
      "the route to 8.8.8.8 leaves by link \"eth0\", which has no carrier", "\"eth0\"");
  HostFacts lo_prohibit = only_lo();
  lo_prohibit.route = refused(EACCES, "prohibit default");
  row("the errno decides, not the links", lo_prohibit, Cause::kRouteProhibit,
      "route \"prohibit default\" covers 8.8.8.8 (EACCES)", "ip route del");
  row("an errno no rule knows", refusing("8.8.8.8", ENETDOWN, ""), Cause::kUnknown,
      "the route lookup for 8.8.8.8 gave ENETDOWN (Network is down)", "ip route get 8.8.8.8");

  for (const Row& each : rows) {
    CAPTURE(each.name);
    const auto reason = judge_route(each.facts);
    REQUIRE(reason);
    CHECK(cause_row(reason->cause).id == cause_row(each.cause).id);
    CHECK(reason->errno_value == each.facts.route.errno_value);
    CHECK(reason->fact == each.fact);
    CHECK(contains(reason->cure, each.cure_part));
    CHECK(reason->cure.back() != '.');
  }
}

TEST_CASE("long lists are counted, not printed") {
  CHECK(enumerate({}).empty());
  CHECK(enumerate({"a"}) == "a");
  CHECK(enumerate({"a", "b", "c", "d"}) == "a, b, c and d");
  CHECK(enumerate({"a", "b", "c", "d", "e", "f"}) == "a, b, c, d and 2 more");
}

// --- ping ---------------------------------------------------------------------------------------

TEST_CASE("ping sockets: the kernel's answer decides, range and groups say why") {
  HostFacts facts = healthy("8.8.8.8");
  CHECK_FALSE(judge_ping(facts.ping, false));

  close_ping(facts);
  auto reason = judge_ping(facts.ping, false);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kPingNotPermitted);
  CHECK(reason->errno_value == EACCES);
  CHECK(reason->fact ==
        "net.ipv4.ping_group_range is \"1 0\" and none of this process's groups (0) is inside");
  CHECK(reason->cure ==
        "sysctl -w net.ipv4.ping_group_range=\"0 2147483647\" (as root in this network namespace)");

  facts.ping.range = GroupRange{100, 200};
  facts.ping.groups = {1000, 27, 4, 24, 30, 46};
  reason = judge_ping(facts.ping, true);
  REQUIRE(reason);
  CHECK(contains(reason->fact, "is \"100 200\""));
  CHECK(contains(reason->fact, "(1000, 27, 4, 24 and 2 more)"));
}

TEST_CASE("in a user namespace the cure uses a group that is mapped there") {
  HostFacts facts = healthy("8.8.8.8");
  close_ping(facts);
  facts.ping.range = GroupRange{65534, 0};
  facts.ping.groups = {7, 65534};
  facts.ping.every_group_mapped = false;
  const auto reason = judge_ping(facts.ping, false);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kPingNotPermitted);
  CHECK(contains(reason->cure, "ping_group_range=\"7 7\""));
}

TEST_CASE("a ping socket that the range does not forbid") {
  HostFacts facts = healthy("8.8.8.8");
  facts.ping.socket4_errno = EACCES;  // the range is open: a security module, say
  auto reason = judge_ping(facts.ping, false);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kSocketsForbidden);
  CHECK(reason->fact == "opening an IPv4 ping socket gave EACCES (Permission denied)");
  CHECK_FALSE(judge_ping(facts.ping, true));

  facts.ping.range.reset();  // the file cannot be read: nothing is said about it
  reason = judge_ping(facts.ping, false);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kUnknown);
  facts.ping.socket6_errno = EPROTONOSUPPORT;
  reason = judge_ping(facts.ping, true);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kSocketsForbidden);
  CHECK(contains(reason->fact, "EPROTONOSUPPORT"));
  CHECK_FALSE(contains(reason->fact, "ping_group_range"));
}

// --- what probes found --------------------------------------------------------------------------

TEST_CASE("echo probes") {
  HostFacts facts = healthy("8.8.8.8");
  EchoProbe probe;
  probe.outcome = ProbeOutcome::kAnswered;
  CHECK_FALSE(judge_echo(facts, probe));

  probe.outcome = ProbeOutcome::kSilent;
  probe.took_ns = 2 * kSecond_ns;
  auto reason = judge_echo(facts, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kNoAnswer);
  CHECK(reason->fact ==
        "an echo request to 8.8.8.8 left via 10.1.0.1 on \"eth0\" and nothing came back in 2 s");
  probe.outcome = ProbeOutcome::kIcmpError;
  probe.errno_value = EHOSTUNREACH;
  probe.error = {{3, 13, 0}, ip("10.1.0.1"), EHOSTUNREACH};
  reason = judge_echo(facts, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kRemoteProhibited);
  CHECK(reason->fact ==
        "10.1.0.1 answers 8.8.8.8 icmp echo with \"Packet filtered\" (ICMP type 3 code 13)");
  probe.error = {{3, 1, 0}, ip("10.1.0.2"), EHOSTUNREACH};
  reason = judge_echo(facts, probe);
  REQUIRE(reason);
  CHECK(contains(reason->fact, "this host itself (10.1.0.2)"));

  probe = {};
  probe.outcome = ProbeOutcome::kRefused;
  probe.errno_value = EPERM;
  probe.syscall = "sendto";
  reason = judge_echo(facts, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kFirewallDrops);
  CHECK(contains(reason->cure, "nft list ruleset"));
  probe.errno_value = EIO;
  reason = judge_echo(facts, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kUnknown);
  CHECK(reason->cure == "strace -f -e sendto shows the call");
}

TEST_CASE("nameserver probes") {
  const HostFacts facts = healthy("127.0.0.53");
  const Nameserver server{ip("127.0.0.53"), {}};
  NameserverProbe probe;
  probe.outcome = ProbeOutcome::kAnswered;
  CHECK_FALSE(judge_nameserver(facts, server, probe));

  probe.outcome = ProbeOutcome::kRefused;
  probe.errno_value = ECONNREFUSED;
  auto reason = judge_nameserver(facts, server, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kStubResolver);
  CHECK(contains(reason->fact, "nobody listens at 127.0.0.53 of /etc/resolv.conf (ECONNREFUSED)"));
  reason = judge_nameserver(healthy("10.1.0.1"), {ip("10.1.0.1"), {}}, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kNameserverRefuses);
  CHECK(reason->fact == "nobody listens at 10.1.0.1 of /etc/resolv.conf (ECONNREFUSED)");

  probe.outcome = ProbeOutcome::kSilent;
  probe.took_ns = 2 * kSecond_ns;
  reason = judge_nameserver(facts, server, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kNameserverSilent);
  CHECK(reason->fact == "127.0.0.53 of /etc/resolv.conf did not answer in 2 s");

  probe.outcome = ProbeOutcome::kRefused;
  probe.errno_value = EPERM;
  reason = judge_nameserver(facts, server, probe);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kFirewallDrops);
}

TEST_CASE("resolv.conf that names nobody") {
  ResolverFacts resolver{"/etc/resolv.conf", ENOENT, {}};
  auto reason = judge_resolver(resolver);
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kNoNameserver);
  CHECK(reason->fact == "/etc/resolv.conf is missing");
  resolver.errno_value = EACCES;
  CHECK(judge_resolver(resolver)->fact == "/etc/resolv.conf cannot be read: Permission denied");
  resolver.errno_value = 0;
  CHECK(judge_resolver(resolver)->fact == "/etc/resolv.conf names no nameserver");
  resolver.nameservers = {{ip("127.0.0.1"), {}}};
  CHECK_FALSE(judge_resolver(resolver));
}
