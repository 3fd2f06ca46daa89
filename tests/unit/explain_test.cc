// Why an errno or an ICMP error came back: judged on facts that are written down.
#include <doctest/doctest.h>

#include "netstack/reachability/reachability.h"
#include "tests/unit/facts_fixture.h"

using namespace tests;

TEST_CASE("explain: an errno is explained only by facts that produce it") {
  struct Row {
    const char* name;
    HostFacts facts;
    Target target;
    int errno_value;
    Cause cause;
  };
  HostFacts shut = healthy("8.8.8.8");
  close_ping(shut);
  HostFacts lo_shut = only_lo();
  close_ping(lo_shut);
  HostFacts prohibited = healthy("8.8.8.8");
  prohibited.route = refused(EACCES);
  const Target tcp{Protocol::kTcp, ip("8.8.8.8"), 443};
  const Target dns{Protocol::kUdp, ip("10.1.0.1"), 53};
  const std::vector<Row> rows{
      {"no route", only_lo(), echo("8.8.8.8"), ENETUNREACH, Cause::kOnlyLoopback},
      {"no route, tcp", only_lo(), tcp, ENETUNREACH, Cause::kOnlyLoopback},
      {"ping", shut, echo("8.8.8.8"), EACCES, Cause::kPingNotPermitted},
      {"permission would not help", lo_shut, echo("8.8.8.8"), EACCES, Cause::kOnlyLoopback},
      {"prohibit", prohibited, echo("8.8.8.8"), EACCES, Cause::kRouteProhibit},
      {"ping permission is no matter of tcp", shut, tcp, EACCES, Cause::kUnknown},
      {"firewall", healthy("8.8.8.8"), echo("8.8.8.8"), EPERM, Cause::kFirewallDrops},
      {"a firewall is no matter without a route", only_lo(), tcp, EPERM, Cause::kUnknown},
      {"no route explains no lack of descriptors", only_lo(), tcp, EMFILE,
       Cause::kDescriptorsExhausted},
      {"the machine's descriptors", shut, echo("8.8.8.8"), ENFILE, Cause::kDescriptorsExhausted},
      {"ports", healthy("8.8.8.8"), tcp, EADDRNOTAVAIL, Cause::kPortsExhausted},
      {"no address to send from",
       healthy("2001:db8::1"),
       {Protocol::kTcp, ip("2001:db8::1"), 443},
       EADDRNOTAVAIL,
       Cause::kUnknown},
      {"memory", healthy("8.8.8.8"), tcp, ENOBUFS, Cause::kUnknown},
      {"route fine", healthy("8.8.8.8"), echo("8.8.8.8"), EACCES, Cause::kUnknown},
      {"nameserver", healthy("10.1.0.1"), dns, ECONNREFUSED, Cause::kNameserverRefuses},
      {"refused elsewhere", healthy("8.8.8.8"), tcp, ECONNREFUSED, Cause::kUnknown}};
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const Reason reason = explain(row.facts, row.target, row.errno_value, "sendto");
    CHECK(cause_row(reason.cause).id == cause_row(row.cause).id);
    if (reason.cause == Cause::kUnknown) CHECK(reason.errno_value == row.errno_value);
  }
}

TEST_CASE("explain: the unknown is named, not told a story about") {
  const HostFacts facts = healthy("8.8.8.8");
  CHECK(explain(facts, echo("8.8.8.8"), ENOBUFS, "sendto").fact ==
        "sendto() refused 8.8.8.8 icmp echo with ENOBUFS (No buffer space available)");
  const Reason reason = explain(facts, {Protocol::kTcp, ip("8.8.8.8"), 443}, ENOMEM, "");
  CHECK(reason.fact == "the host refused 8.8.8.8:443 tcp with ENOMEM (Cannot allocate memory)");
  CHECK(reason.cure == "lanyard doctor --to 8.8.8.8");
}

TEST_CASE("explain: a route whose end does not answer") {
  HostFacts facts = healthy("8.8.8.8");
  Reason reason = explain(facts, echo("8.8.8.8"), EHOSTUNREACH, "");
  CHECK(reason.cause == Cause::kHostUnreachable);
  CHECK(contains(reason.fact, "the route leads to router 10.1.0.1 of \"eth0\""));
  facts.route.neighbour = Neighbour::kDead;
  reason = explain(facts, echo("8.8.8.8"), EHOSTUNREACH, "");
  CHECK(reason.cause == Cause::kNeighbourDead);
  CHECK(reason.fact == "router 10.1.0.1 of \"eth0\" does not answer ARP (neighbour state FAILED)");
  facts.route.carrier = false;
  CHECK(explain(facts, echo("8.8.8.8"), EHOSTUNREACH, "").cause == Cause::kCarrierLost);
}

TEST_CASE("explain: sockets and sizes") {
  HostFacts facts = healthy("8.8.8.8");
  facts.route.mtu = 1400;
  const Target udp{Protocol::kUdp, ip("8.8.8.8"), 53};
  CHECK(explain(facts, udp, EAFNOSUPPORT, "socket").cause == Cause::kSocketsForbidden);
  CHECK(explain(facts, udp, EPERM, "socket").cause == Cause::kSocketsForbidden);
  const Reason reason = explain(facts, udp, EMSGSIZE, "sendto");
  CHECK(reason.cause == Cause::kPacketTooBig);
  CHECK(words_for(reason, false) == too_big_words(false, 1400));
  facts.descriptors_max = 64;
  CHECK(explain(facts, udp, EMFILE, "").fact ==
        "all 64 file descriptors of the gateway are in use (EMFILE)");
}

TEST_CASE("a proxy's password is not told") {
  CHECK(parse_proxy("http_proxy", "http://user:secret@proxy.example:3128/").server ==
        "proxy.example:3128");
  CHECK(parse_proxy("all_proxy", "socks5h://127.0.0.1:1080").local);
  CHECK(parse_proxy("http_proxy", "localhost:8080").local);
  CHECK(parse_proxy("http_proxy", "http://a\"b\n/").server == "a?b?");
}

TEST_CASE("somebody's ICMP error is told in their words") {
  struct Row {
    const char* name;
    const char* target;
    IcmpWords words;
    const char* offender;
    Cause cause;
  };
  const std::vector<Row> rows{
      {"prohibited by a router", "8.8.8.8", {3, 13}, "9.9.9.9", Cause::kRemoteProhibited},
      {"host prohibited", "8.8.8.8", {3, 10}, "8.8.8.8", Cause::kRemoteProhibited},
      {"net prohibited", "8.8.8.8", {3, 9}, "9.9.9.9", Cause::kRemoteProhibited},
      {"IPv6 prohibited", "2001:db8::1", {1, 1}, "2001:db8::9", Cause::kRemoteProhibited},
      {"IPv6 reject route", "2001:db8::1", {1, 6}, "2001:db8::9", Cause::kRemoteProhibited},
      {"net unreachable", "8.8.8.8", {3, 0}, "9.9.9.9", Cause::kRefusedOnPath},
      {"IPv6 no route", "2001:db8::1", {1, 0}, "2001:db8::9", Cause::kRefusedOnPath},
      {"closed port", "8.8.8.8", {3, 3}, "8.8.8.8", Cause::kPortClosed},
      {"a router speaks of ports", "8.8.8.8", {3, 3}, "9.9.9.9", Cause::kRefusedOnPath},
      {"hop limit", "8.8.8.8", {11, 0}, "9.9.9.9", Cause::kHopLimit},
      {"IPv6 hop limit", "2001:db8::1", {3, 0}, "2001:db8::9", Cause::kHopLimit},
      {"too big", "8.8.8.8", {3, 4, 1300}, "9.9.9.9", Cause::kPacketTooBig},
      {"IPv6 too big", "2001:db8::1", {2, 0, 1300}, "2001:db8::9", Cause::kPacketTooBig},
      {"our own firewall", "8.8.8.8", {3, 13}, "10.1.0.2", Cause::kFirewallRejects},
      {"our own firewall, of ports", "8.8.8.8", {3, 3}, "10.1.0.2", Cause::kFirewallRejects},
      {"our own host", "8.8.8.8", {3, 1}, "10.1.0.2", Cause::kHostUnreachable},
      {"our own closed port", "10.1.0.2", {3, 3}, "10.1.0.2", Cause::kPortClosed}};
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const Target target{Protocol::kUdp, ip(row.target), 53};
    const Reason reason =
        judge_icmp_error(healthy(row.target), target, {row.words, ip(row.offender), EHOSTUNREACH});
    CHECK(cause_row(reason.cause).id == cause_row(row.cause).id);
    CHECK(words_for(reason, target.address.v6) == row.words);
    CHECK_FALSE(reason.fact.empty());
  }
}

TEST_CASE("a connection that nobody answers") {
  HostFacts facts = healthy("8.8.8.8");
  facts.proxy = {"https_proxy", "proxy.example:3128", false};
  const Target tcp{Protocol::kTcp, ip("8.8.8.8"), 443};
  Reason reason = judge_timeout(facts, tcp, 75 * kSecond_ns);
  CHECK(reason.cause == Cause::kNoAnswer);
  CHECK(reason.fact ==
        "8.8.8.8:443 tcp left via 10.1.0.1 on \"eth0\" and nothing came back in 75 s");
  CHECK(contains(reason.cure, "https_proxy names proxy.example:3128"));
  facts.route.neighbour = Neighbour::kDead;
  CHECK(judge_timeout(facts, tcp, kSecond_ns).cause == Cause::kNeighbourDead);
}
