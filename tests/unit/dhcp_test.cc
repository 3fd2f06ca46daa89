// The DHCP server by messages: what RFC 2131 asks of one, row by row, and what it survives.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>

#include "netstack/wire/dns.h"
#include "tests/unit/dhcp_fixture.h"

using namespace tests;

TEST_CASE("a lease says all a guest needs") {
  GatewayConfig config;
  config.names.mtu = 1400;
  config.names.search = {"corp.example"};
  Server server(config);
  const auto offer = server.ask(message(DhcpType::kDiscover));
  REQUIRE(offer);
  const Dhcp& dhcp = offer->dhcp;
  CHECK(dhcp.type == DhcpType::kOffer);
  CHECK(dhcp.your_ip == ip("10.0.2.15"));
  CHECK(dhcp.server_id == ip("10.0.2.2"));
  CHECK(dhcp.subnet_mask == ip("255.255.255.0"));
  CHECK(dhcp.broadcast_address == ip("10.0.2.255"));
  CHECK(dhcp.router == ip("10.0.2.2"));
  CHECK(dhcp.dns == ip("10.0.2.3"));
  CHECK(dhcp.mtu == 1400);
  CHECK(dhcp.domain == "lan");
  std::vector<uint8_t> search;
  append_dns_name("lan", search);
  append_dns_name("corp.example", search);
  CHECK(std::ranges::equal(dhcp.search, search));
  CHECK(dhcp.lease_seconds == 86'400);
  CHECK(dhcp.renewal_seconds == 43'200);
  CHECK(dhcp.rebinding_seconds == 75'600);
  CHECK(offer->bytes.size() <= kDhcpPayloadBytesMax);
}

TEST_CASE("where answers go, RFC 2131 §4.1") {
  struct Row {
    const char* what;
    DhcpType type;
    const char* ciaddr;     // or ""
    const char* requested;  // or ""
    bool broadcast;
    DhcpType answer;
    const char* destination;
    bool to_everybody;  // as a frame
  };
  const std::vector<Row> rows = {
      {"an offer, by MAC", DhcpType::kDiscover, "", "", false, DhcpType::kOffer, "10.0.2.15",
       false},
      {"an offer, broadcast asked for", DhcpType::kDiscover, "", "", true, DhcpType::kOffer,
       "255.255.255.255", true},
      {"an offer is not sent to ciaddr", DhcpType::kDiscover, "10.0.2.77", "", false,
       DhcpType::kOffer, "10.0.2.15", false},
      {"a reboot's ack", DhcpType::kRequest, "", "10.0.2.15", false, DhcpType::kAck, "10.0.2.15",
       false},
      {"a reboot's ack, broadcast", DhcpType::kRequest, "", "10.0.2.15", true, DhcpType::kAck,
       "255.255.255.255", true},
      {"a renewal's ack goes to ciaddr even so", DhcpType::kRequest, "10.0.2.15", "", true,
       DhcpType::kAck, "10.0.2.15", false},
      {"a nak goes to everybody", DhcpType::kRequest, "", "10.9.9.9", false, DhcpType::kNak,
       "255.255.255.255", true},
      {"a renewal's nak as well", DhcpType::kRequest, "10.9.9.9", "", false, DhcpType::kNak,
       "255.255.255.255", true},
      {"an inform's ack", DhcpType::kInform, "10.0.2.7", "", false, DhcpType::kAck, "10.0.2.7",
       false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    Server server;
    Dhcp request = message(row.type);
    if (*row.ciaddr != 0) request.client_ip = ip(row.ciaddr);
    if (*row.requested != 0) request.requested_ip = ip(row.requested);
    request.broadcast = row.broadcast;
    const auto reply = server.ask(request);
    REQUIRE(reply);
    CHECK(reply->dhcp.type == row.answer);
    CHECK(reply->destination == ip(row.destination));
    CHECK(reply->mac == (row.to_everybody ? kBroadcast : kGuest));
    CHECK(reply->dhcp.broadcast == row.broadcast);
    if (row.answer == DhcpType::kNak) {
      CHECK(reply->dhcp.your_ip == IpAddress{});
      CHECK_FALSE(reply->dhcp.lease_seconds);
      CHECK_FALSE(reply->dhcp.message.empty());
    }
  }
}

TEST_CASE("which requests are granted, RFC 2131 §4.3.2") {
  struct Row {
    const char* what;
    const char* address;
    bool renewing;  // ciaddr, else a requested address
    DhcpType answer;
  };
  const std::vector<Row> rows = {
      {"its own again", "10.0.2.15", false, DhcpType::kAck},
      {"its own, renewed", "10.0.2.15", true, DhcpType::kAck},
      {"another than its own, though free", "10.0.2.200", false, DhcpType::kNak},
      {"another than its own, renewed", "10.0.2.200", true, DhcpType::kNak},
      {"another guest's", "10.0.2.16", false, DhcpType::kNak},
      {"another guest's, renewed", "10.0.2.16", true, DhcpType::kNak},
      {"below the pool", "10.0.2.9", false, DhcpType::kNak},
      {"the gateway's", "10.0.2.2", false, DhcpType::kNak},
      {"the nameserver's", "10.0.2.3", false, DhcpType::kNak},
      {"the broadcast address", "10.0.2.255", false, DhcpType::kNak},
      {"another network's", "192.168.1.5", true, DhcpType::kNak},
      {"another guest's static lease", "10.0.2.40", false, DhcpType::kNak},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    GatewayConfig config;
    config.names.leases.push_back(StaticLease::parse("52:54:00:00:00:99=10.0.2.40"));
    Server server(config);
    REQUIRE(server.lease(kGuest) == ip("10.0.2.15"));
    REQUIRE(server.lease(kOther) == ip("10.0.2.16"));
    Dhcp request = message(DhcpType::kRequest);
    if (row.renewing) {
      request.client_ip = ip(row.address);
    } else {
      request.requested_ip = ip(row.address);
    }
    const auto reply = server.ask(request);
    REQUIRE(reply);
    CHECK(reply->dhcp.type == row.answer);
    // What was refused has cost nobody a lease.
    CHECK(server.leases.find(kOther)->live(server.clock.monotonic_ns()));
    if (row.answer == DhcpType::kNak) CHECK(server.leases.find(kGuest)->address == ip("10.0.2.15"));
  }
}

TEST_CASE("the same MAC gets the same address, and others get others") {
  Server server;
  CHECK(server.lease(kGuest) == ip("10.0.2.15"));
  CHECK(server.lease(kOther) == ip("10.0.2.16"));
  CHECK(server.lease(kGuest) == ip("10.0.2.15"));
  SUBCASE("after its lease has ended") {
    server.clock.advance_ns(2 * 86'400 * kSecond_ns);
    CHECK(server.lease(numbered(1)) == ip("10.0.2.17"));
  }
  SUBCASE("after it gave it back") {
    Dhcp release = message(DhcpType::kRelease);
    release.client_ip = ip("10.0.2.15");
    CHECK_FALSE(server.ask(release));
    CHECK(server.server.counters().releases == 1);
    CHECK_FALSE(server.leases.find(kGuest)->live(server.clock.monotonic_ns()));
    CHECK(server.lease(numbered(1)) == ip("10.0.2.17"));
  }
  CHECK(server.lease(kGuest) == ip("10.0.2.15"));
}

TEST_CASE("a discover's wish is granted when the address is free") {
  Server server;
  Dhcp discover = message(DhcpType::kDiscover);
  discover.requested_ip = ip("10.0.2.99");
  CHECK(server.ask(discover)->dhcp.your_ip == ip("10.0.2.99"));
  discover.client_mac = kOther.octets;  // held for the first one
  CHECK(server.ask(discover)->dhcp.your_ip == ip("10.0.2.15"));
}

TEST_CASE("an offer that another server won is free again") {
  Server server(small_network());
  REQUIRE(server.ask(message(DhcpType::kDiscover))->dhcp.your_ip == ip("192.168.9.15"));
  Dhcp elsewhere = requesting(kGuest, "192.168.9.200");
  elsewhere.server_id = ip("192.168.9.1");
  CHECK_FALSE(server.ask(elsewhere));
  CHECK(server.server.counters().ignored == 1);
  for (uint32_t i = 0; i < 16; ++i) CHECK(server.lease(numbered(i)));
}

TEST_CASE("static leases, inside and outside the pool") {
  GatewayConfig config;
  config.names.leases.push_back(StaticLease::parse("52:54:00:00:00:01=10.0.2.9"));
  config.names.leases.push_back(StaticLease::parse("52:54:00:00:00:02=10.0.2.15"));
  config.check_names();
  Server server(config);
  CHECK(server.lease(numbered(1)) == ip("10.0.2.16"));  // .15 is spoken for
  CHECK(server.lease(kGuest) == ip("10.0.2.9"));
  CHECK(server.lease(kOther) == ip("10.0.2.15"));
  CHECK(server.ask(requesting(kGuest, "10.0.2.77"))->dhcp.type == DhcpType::kNak);
}

TEST_CASE("the whole range is leased, then one line says that it is not enough") {
  Server server(small_network());
  std::set<IpAddress> addresses;
  for (uint32_t i = 0; i < 16; ++i) {
    const auto address = server.lease(numbered(i));
    REQUIRE(address);
    addresses.insert(*address);
  }
  CHECK(addresses.size() == 16);
  CHECK(*addresses.begin() == ip("192.168.9.15"));
  CHECK(*addresses.rbegin() == ip("192.168.9.30"));
  for (uint32_t i = 16; i < 100; ++i) CHECK_FALSE(server.lease(numbered(i)));
  CHECK(server.server.counters().exhausted == 84);
  CHECK(server.log.lines.size() == kThrottleLines_count);
  CHECK(server.log.lines[0].find("DHCP: no address left for 52:54:01:00:00:10: 16 leases from "
                                 "192.168.9.15 on") == 0);

  // The lease that ended longest ago makes room, and nobody with a live one notices.
  server.clock.advance_ns(60'000 * kSecond_ns);
  for (uint32_t i = 1; i < 16; ++i) REQUIRE(server.lease(numbered(i)));
  server.clock.advance_ns(30'000 * kSecond_ns);
  CHECK(server.lease(numbered(50)) == ip("192.168.9.15"));
  CHECK_FALSE(server.lease(numbered(51)));
  CHECK_FALSE(server.lease(numbered(0)));
}

TEST_CASE("offers nobody takes up do not keep the pool") {
  Server server(small_network());
  for (uint32_t i = 0; i < 16; ++i) CHECK(server.ask(message(DhcpType::kDiscover, numbered(i))));
  CHECK_FALSE(server.lease(kGuest));
  server.clock.advance_ns(LeaseTable::kOffer_ns + 1);
  CHECK(server.lease(kGuest));
}

TEST_CASE("a wide network: more leases than records are kept for") {
  GatewayConfig config;
  config.network = GatewayNetwork::parse("10.0.0.0/8");
  Server server(config);
  for (uint32_t i = 0; i < LeaseTable::kLeasesMax; ++i) REQUIRE(server.lease(numbered(i)));
  CHECK_FALSE(server.lease(numbered(LeaseTable::kLeasesMax)));
  CHECK(server.leases.count() == LeaseTable::kLeasesMax);
  CHECK(server.ask(requesting(kGuest, "10.200.0.1"))->dhcp.type == DhcpType::kNak);
  server.clock.advance_ns(100'000 * kSecond_ns);
  CHECK(server.lease(numbered(LeaseTable::kLeasesMax)));
  CHECK(server.ask(requesting(kGuest, "10.200.0.1"))->dhcp.type == DhcpType::kAck);
  CHECK(server.leases.count() == LeaseTable::kLeasesMax);
}

TEST_CASE("an address found in use is set aside, by its own guest only") {
  Server server;
  REQUIRE(server.lease(kGuest) == ip("10.0.2.15"));
  Dhcp decline = message(DhcpType::kDecline, kOther);
  decline.requested_ip = ip("10.0.2.15");
  CHECK_FALSE(server.ask(decline));
  CHECK(server.server.counters().malformed == 1);
  decline.client_mac = kGuest.octets;
  CHECK_FALSE(server.ask(decline));
  CHECK(server.server.counters().declines == 1);
  REQUIRE(server.log.lines.size() == 1);
  CHECK(server.log.lines[0].find("10.0.2.15 in use by another machine") != std::string::npos);

  CHECK(server.lease(kGuest) == ip("10.0.2.16"));
  CHECK(server.ask(requesting(kOther, "10.0.2.15"))->dhcp.type == DhcpType::kNak);
  server.clock.advance_ns(LeaseTable::kSetAside_ns + 1);
  CHECK(server.ask(requesting(kOther, "10.0.2.15"))->dhcp.type == DhcpType::kAck);
}

TEST_CASE("inform: everything but an address") {
  Server server;
  Dhcp inform = message(DhcpType::kInform);
  inform.client_ip = ip("10.0.2.7");
  const auto reply = server.ask(inform);
  REQUIRE(reply);
  CHECK(reply->dhcp.type == DhcpType::kAck);
  CHECK(reply->dhcp.your_ip == IpAddress{});
  CHECK_FALSE(reply->dhcp.lease_seconds);
  CHECK(reply->dhcp.dns == ip("10.0.2.3"));
  CHECK(server.leases.count() == 0);
}

TEST_CASE("the client id comes back, and long options leave the address whole") {
  GatewayConfig config;
  config.names.search = {std::string(60, 'a') + "." + std::string(60, 'b') + "." +
                         std::string(60, 'c') + "." + std::string(50, 'd')};
  Server server(config);
  const Bytes id(255, 7);
  Dhcp discover = message(DhcpType::kDiscover);
  discover.client_id = std::span(id).first(60);
  discover.hostname = "web";
  auto offer = server.ask(discover);
  CHECK(std::ranges::equal(offer->dhcp.client_id, discover.client_id));
  CHECK(offer->dhcp.search.empty());  // did not fit
  CHECK(offer->bytes.size() <= kDhcpPayloadBytesMax);
  CHECK(offer->dhcp.dns == ip("10.0.2.3"));
  discover.message_bytes_max = 1400;
  offer = server.ask(discover);
  CHECK_FALSE(offer->dhcp.search.empty());
  CHECK(offer->bytes.size() > kDhcpPayloadBytesMax);
  discover.message_bytes_max = 1;  // nonsense
  discover.client_id = id;
  offer = server.ask(discover);
  CHECK(offer->dhcp.your_ip == ip("10.0.2.15"));
  CHECK(offer->dhcp.lease_seconds == 86'400);
}

TEST_CASE("what is not a client's message is dropped and counted") {
  Server server;
  Dhcp request = requesting(kGuest, "10.0.2.15");
  const auto malformed = [&] { return server.server.counters().malformed; };
  const auto ignored = [&] { return server.server.counters().ignored; };
  const auto answered = [&](const Dhcp& dhcp) {
    return server.server.answer(make_dhcp(dhcp), kGuest, 1).has_value();
  };
  Dhcp from_server = request;
  from_server.from_server = true;
  CHECK_FALSE(answered(from_server));
  CHECK_FALSE(answered(message(DhcpType::kRequest)));  // neither address
  Dhcp two = request;
  two.client_ip = ip("10.0.2.16");
  CHECK_FALSE(answered(two));
  CHECK_FALSE(answered(message(DhcpType::kInform)));
  CHECK_FALSE(answered(message(DhcpType::kRelease)));
  CHECK_FALSE(answered(message(DhcpType::kDecline)));
  CHECK_FALSE(answered(message(DhcpType::kDiscover, kBroadcast)));
  CHECK_FALSE(answered(message(DhcpType::kDiscover, Mac{})));
  CHECK(malformed() == 8);
  CHECK(ignored() == 0);
  Dhcp relayed = request;
  relayed.relay_ip = ip("10.0.2.1");
  CHECK_FALSE(answered(relayed));
  CHECK_FALSE(answered(message(static_cast<DhcpType>(99))));
  CHECK_FALSE(answered(message(DhcpType::kOffer)));
  CHECK(malformed() == 8);
  CHECK(ignored() == 3);
  CHECK(server.leases.count() == 0);
}

TEST_CASE("random bytes and damaged messages: no crash, no lease beyond the pool") {
  std::mt19937 random(20260731);
  Server server(small_network());
  const auto dice = [&](size_t sides) { return static_cast<uint32_t>(random() % sides); };
  Dhcp templates[] = {message(DhcpType::kDiscover), requesting(kGuest, "192.168.9.20"),
                      message(DhcpType::kDecline), message(DhcpType::kRelease),
                      message(DhcpType::kInform)};
  Bytes wire;
  append_dns_name("a.b", wire);
  for (Dhcp& each : templates) {
    each.hostname = "name";
    each.fqdn = DhcpFqdn{DhcpFqdn::kWireNames, wire};
    each.client_id = wire;
  }
  uint64_t replies = 0;
  for (int round = 0; round < 120'000; ++round) {
    Bytes bytes;
    if (dice(10) == 0) {
      bytes.resize(dice(600));
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    } else {
      Dhcp dhcp = templates[dice(5)];
      dhcp.client_mac = numbered(dice(40)).octets;
      if (dice(2) == 0) dhcp.requested_ip = IpAddress::v4(0xc0a80900 + dice(40));
      if (dice(2) == 0) dhcp.client_ip = IpAddress::v4(0xc0a80900 + dice(40));
      bytes = make_dhcp(dhcp);
      for (uint32_t i = dice(4); i > 0; --i)
        bytes[dice(bytes.size())] ^= static_cast<uint8_t>(random());
      if (dice(4) == 0) bytes.resize(dice(bytes.size()));
    }
    const auto reply = server.server.answer(bytes, kGuest, dice(3));
    if (reply) {
      ++replies;
      REQUIRE(parse_dhcp(reply->message));
    }
    if (dice(50) == 0) server.clock.advance_ns(dice(100'000) * kSecond_ns);
  }
  CHECK(replies > 10'000);
  CHECK(server.server.counters().malformed > 10'000);
  std::set<IpAddress> addresses;
  server.leases.for_each([&](const Lease& lease) {
    CHECK(addresses.insert(lease.address).second);
    CHECK(lease.address >= ip("192.168.9.15"));
    CHECK(lease.address <= ip("192.168.9.30"));
  });
  CHECK(server.log.lines.size() < 60'000);
}
