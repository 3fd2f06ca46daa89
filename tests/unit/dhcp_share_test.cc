// How the pool of addresses is shared out: a guest that invents MAC addresses behind one port of
// the switch leaves enough to the guests behind the others.
#include <doctest/doctest.h>

#include <string>

#include "tests/unit/dhcp_fixture.h"

using namespace tests;

namespace {

constexpr PortId kHostile = 1;
constexpr PortId kHonest = 2;

// A server that guests behind several ports ask.
struct SharedPool : Server {
  using Server::Server;

  bool leases_to(PortId from, uint32_t guest) {
    port = from;
    return lease(numbered(guest)).has_value();
  }
  bool offers_to(PortId from, uint32_t guest) {
    port = from;
    return ask(message(DhcpType::kDiscover, numbered(guest))).has_value();
  }
  // By a MAC each, from that number on, until one gets none; how many got one.
  size_t fill(PortId from, uint32_t first_guest) {
    uint32_t guest = first_guest;
    while (leases_to(from, guest)) ++guest;
    return guest - first_guest;
  }
  void release(uint32_t guest) {
    Dhcp request = message(DhcpType::kRelease, numbered(guest));
    request.client_ip = leases.find(numbered(guest))->address;
    CHECK_FALSE(ask(request));
  }
  void decline(uint32_t guest) {
    Dhcp request = message(DhcpType::kDecline, numbered(guest));
    request.requested_ip = leases.find(numbered(guest))->address;
    CHECK_FALSE(ask(request));
  }
  size_t taken() const { return leases.pool_count() - leases.free_count(); }
};

}  // namespace

TEST_CASE("forged MACs behind one port leave leases to guests behind others") {
  SharedPool pool;
  CHECK(pool.fill(kHostile, 0) == 180);  // three quarters of 240
  CHECK(pool.fill(kHonest, 1000) == 45);
  CHECK(pool.leases_to(3, 2000));
  CHECK(pool.server.counters().over_limit == 2);
  CHECK(pool.server.counters().exhausted == 0);
  REQUIRE(pool.log.lines.size() == 1);
  CHECK(pool.log.lines[0] ==
        "DHCP: no address for 52:54:01:00:00:b4: port 1 of the switch has its share, 180 of 240; "
        "60 are kept for other ports. Look for a guest there that invents MAC addresses, or "
        "choose a larger --net");
}

TEST_CASE("refusals are said once in a while, summed up, and do not silence other lines") {
  SharedPool pool;
  pool.fill(kHostile, 0);
  for (uint32_t guest = 500; guest < 600; ++guest) CHECK_FALSE(pool.leases_to(kHostile, guest));
  CHECK(pool.log.lines.size() == 1);
  pool.decline(3);
  CHECK(pool.log.lines.size() == 2);
  pool.clock.advance_ns(kThrottleWindow_ns);
  CHECK_FALSE(pool.leases_to(kHostile, 700));
  REQUIRE(pool.log.lines.size() == 3);
  CHECK(pool.log.lines[2].ends_with("(100 lines before this one were not shown)"));
}

TEST_CASE("who has its share hears nothing to a DISCOVER and NAK to a REQUEST") {
  SharedPool pool;
  pool.fill(kHostile, 0);
  CHECK_FALSE(pool.ask(message(DhcpType::kDiscover, numbered(999))));
  const auto nak = pool.ask(requesting(numbered(999), "10.0.2.240"));
  REQUIRE(nak);
  CHECK(nak->dhcp.type == DhcpType::kNak);
  CHECK(nak->dhcp.message == "no address is left for you");
  pool.port = kHonest;
  CHECK(pool.ask(requesting(numbered(999), "10.0.2.240"))->dhcp.type == DhcpType::kAck);
}

TEST_CASE("offers nobody has taken up count, until they end") {
  SharedPool pool;
  uint32_t offered = 0;
  while (pool.offers_to(kHostile, offered)) ++offered;
  CHECK(offered == 180);
  CHECK(pool.offers_to(kHonest, 1000));
  pool.clock.advance_ns(LeaseTable::kOffer_ns + 1);
  CHECK(pool.taken() == 181);  // as it was last
  CHECK(pool.offers_to(kHostile, 500));
  CHECK(pool.taken() == 1);
}

TEST_CASE(
    "whoever has an address keeps it, at its port and at another, and static leases wait for "
    "none") {
  GatewayConfig config;
  config.names.leases.push_back(StaticLease::parse("52:54:00:00:00:01=10.0.2.9"));
  SharedPool pool(config);
  REQUIRE(pool.leases_to(kHostile, 0));
  const IpAddress first = pool.leases.find(numbered(0))->address;
  pool.fill(kHostile, 1);
  CHECK(pool.lease(numbered(0)) == first);
  CHECK(pool.lease(kGuest) == ip("10.0.2.9"));
  pool.port = kHonest;
  CHECK(pool.lease(numbered(0)) == first);  // its machine has moved
  CHECK(pool.leases.taken_count(kHonest) == 1);
  CHECK(pool.leases_to(kHostile, 5000));  // and left its place there
  pool.fill(kHonest, 1000);
  pool.fill(3, 2000);
  pool.fill(4, 3000);
  CHECK(pool.lease(numbered(0)) == first);
  CHECK(pool.lease(kGuest) == ip("10.0.2.9"));
}

TEST_CASE("what was given back, or declined, is no way round the share") {
  SharedPool pool;
  const auto all_taken = [&] { return pool.taken() > 180; };
  REQUIRE(pool.fill(kHostile, 0) == 180);
  for (uint32_t guest = 0; guest < 180; ++guest) pool.release(guest);
  CHECK(pool.fill(kHostile, 1000) == 180);
  for (uint32_t guest = 0; guest < 180; ++guest) pool.leases_to(kHostile, guest);
  CHECK_FALSE(all_taken());
  for (uint32_t guest = 1000; guest < 1180; ++guest) pool.decline(guest);
  CHECK(pool.taken() == 180);  // set aside
  CHECK(pool.fill(kHostile, 2000) == 0);
  CHECK(pool.leases_to(kHonest, 3000));
  pool.clock.advance_ns(LeaseTable::kSetAside_ns + 1);
  CHECK(pool.fill(kHostile, 4000) == 180);
}

TEST_CASE("addresses that a port's guests are heard with count, and give nobody a second one") {
  SharedPool pool;
  for (uint32_t number = 15; number < 255; ++number) {
    pool.leases.see(numbered(number), IpAddress::v4(0x0a000200 + number), 1, kHostile);
  }
  CHECK(pool.taken() == 180);
  CHECK(pool.leases_to(kHostile, 20));  // its own
  CHECK(pool.taken() == 180);
  CHECK_FALSE(pool.leases_to(kHostile, 250));
  for (uint32_t number = 15; number < 255; ++number) {
    Dhcp wish = message(DhcpType::kDiscover, numbered(number));
    wish.requested_ip = ip("10.0.2.250");
    pool.ask(wish);
  }
  CHECK(pool.taken() == 180);
  CHECK(pool.fill(kHonest, 1000) == 45);
}

TEST_CASE("where no port is known there is nobody to keep addresses for") {
  SharedPool pool;
  CHECK(pool.fill(0, 0) == 240);
  CHECK(pool.server.counters().exhausted == 1);
}

TEST_CASE("a small pool is given away whole, but for what three quarters leave") {
  SharedPool pool(small_network());
  CHECK(pool.fill(kHostile, 0) == 12);
  CHECK(pool.fill(kHonest, 100) == 3);
  CHECK(pool.fill(3, 200) == 1);
  CHECK(pool.server.counters().exhausted == 1);
  pool.clock.advance_ns(100'000 * kSecond_ns);
  CHECK(pool.fill(3, 300) == 12);  // all have ended
}

TEST_CASE("the leases of a port that was left go to others last, unless their guests come back") {
  SharedPool pool;
  REQUIRE(pool.fill(kHostile, 0) == 180);
  pool.leases.leave(kHostile);
  CHECK(pool.leases.taken_count(kHostile) == 0);
  CHECK(pool.leases.live_count(pool.clock.monotonic_ns()) == 180);
  const Lease& back = *pool.leases.find(numbered(0));
  pool.leases.see(numbered(0), back.address, pool.clock.monotonic_ns(), kHonest);
  CHECK(pool.leases.taken_count(kHonest) == 1);
  CHECK(pool.leases_to(kHonest, 1));  // so is this one
  CHECK(pool.leases.taken_count(kHonest) == 2);

  // The next one at that port is another, and begins with the addresses nobody has.
  for (uint32_t guest = 1000; guest < 1060; ++guest) REQUIRE(pool.leases_to(kHostile, guest));
  CHECK(pool.leases.live_count(pool.clock.monotonic_ns()) == 240);
  CHECK(pool.fill(kHostile, 1060) > 100);
  CHECK(pool.leases.find(numbered(0)) != nullptr);
  CHECK(pool.leases.find(numbered(1)) != nullptr);
  CHECK(pool.leases_to(3, 5000));

  // However often it comes anew.
  for (uint32_t round = 1; round < 20; ++round) {
    pool.leases.leave(kHostile);
    pool.fill(kHostile, round * 10'000);
  }
  CHECK(pool.leases_to(4, 6000));
}
