// The names guests give themselves by DHCP, and the ones they are given.
#include <doctest/doctest.h>

#include <string>

#include "netstack/wire/dns.h"
#include "tests/unit/dhcp_fixture.h"

using namespace tests;

TEST_CASE("host names: taken from the guest, given back, first come first served") {
  GatewayConfig config;
  config.names.hosts.push_back(HostEntry::parse("db=10.0.2.40"));
  config.names.leases.push_back(StaticLease::parse("52:54:00:00:00:99=10.0.2.40"));
  Server server(config);
  const uint64_t now_ns = server.clock.monotonic_ns();
  REQUIRE(server.lease(kGuest, "Web-1.example.org"));
  CHECK(server.leases.find("web-1", now_ns)->mac == kGuest);
  CHECK(server.ask(requesting(kGuest, "10.0.2.15"))->dhcp.hostname == "web-1");

  REQUIRE(server.lease(kOther, "web-1"));
  CHECK(server.leases.find(kOther)->name.empty());
  REQUIRE(server.lease(numbered(1), "gateway"));
  REQUIRE(server.lease(numbered(2), "db"));
  CHECK(server.log.lines.size() == 3);
  CHECK(server.log.lines[0].find("\"web-1\", and that name is taken") != std::string::npos);

  // --host names the static lease's guest, whatever it calls itself.
  const Mac fixed = packets::mac("52:54:00:00:00:99");
  REQUIRE(server.lease(fixed, "db"));
  CHECK(server.ask(requesting(fixed, "10.0.2.40"))->dhcp.hostname == "db");
  CHECK(server.log.lines.size() == 3);

  for (const std::string bad : {"no_such name", "-x", "x-", "a\nb", "\xc3\xa4", "."}) {
    CAPTURE(bad);
    const Mac mac = numbered(10);
    REQUIRE(server.lease(mac, bad));
    CHECK(server.leases.find(mac)->name.empty());
  }
  // A name is free when its lease has ended.
  Dhcp release = message(DhcpType::kRelease);
  release.client_ip = ip("10.0.2.15");
  server.ask(release);
  REQUIRE(server.lease(kOther, "web-1"));
  CHECK(server.leases.find("web-1", now_ns)->mac == kOther);
  REQUIRE(server.lease(kGuest, "web-1"));
  CHECK(server.leases.find(kGuest)->name.empty());
}

TEST_CASE("full names, RFC 4702") {
  Server server;
  REQUIRE(server.lease(kGuest));
  Dhcp request = requesting(kGuest, "10.0.2.15");
  Bytes wire;
  SUBCASE("as in DNS") {
    append_dns_name("Mail.elsewhere.example", wire);
    request.fqdn = DhcpFqdn{DhcpFqdn::kWireNames, wire};
    const auto reply = server.ask(request);
    REQUIRE(reply->dhcp.fqdn);
    CHECK(reply->dhcp.fqdn->flags ==
          (DhcpFqdn::kWireNames | DhcpFqdn::kServerUpdates | DhcpFqdn::kOverridden));
    Bytes expected;
    append_dns_name("mail.lan", expected);
    CHECK(std::ranges::equal(reply->dhcp.fqdn->name, expected));
  }
  SUBCASE("as text, before option 12") {
    const std::string name = "mail";
    wire.assign(name.begin(), name.end());
    request.fqdn = DhcpFqdn{DhcpFqdn::kServerUpdates, wire};
    request.hostname = "other";
    const auto reply = server.ask(request);
    REQUIRE(reply->dhcp.fqdn);
    CHECK(reply->dhcp.fqdn->flags == DhcpFqdn::kServerUpdates);
    const std::string expected = "mail.lan";
    CHECK(std::ranges::equal(reply->dhcp.fqdn->name, expected));
  }
  CHECK(server.leases.find(kGuest)->name == "mail");
}
