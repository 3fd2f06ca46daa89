#include "vlan/fdb.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

using netstack::kSecond_ns;
using netstack::Mac;
using netstack::PortId;
using vlan::Fdb;
using vlan::FdbConfig;

namespace {

constexpr uint64_t kStart_ns = 5 * kSecond_ns;

Mac station(uint32_t number) {
  return {{0x52, 0x54, static_cast<uint8_t>(number >> 24U), static_cast<uint8_t>(number >> 16U),
           static_cast<uint8_t>(number >> 8U), static_cast<uint8_t>(number)}};
}

Mac invented(uint64_t bits) {
  Mac mac = Mac::read(reinterpret_cast<const uint8_t*>(&bits));
  mac.octets[0] = 0x02;
  return mac;
}

FdbConfig small_table(uint32_t stations, uint64_t seed = 1) {
  FdbConfig config(seed);
  config.station_count_max = stations;
  config.port_count_max = 64;
  return config;
}

}  // namespace

TEST_CASE("a learned station is found behind its port, in its VLAN only") {
  Fdb fdb{FdbConfig(1)};
  fdb.learn(3, station(1), 7, kStart_ns);
  CHECK(fdb.lookup(station(1), 7, kStart_ns) == PortId{3});
  CHECK(fdb.lookup(station(1), 0, kStart_ns) == std::nullopt);
  CHECK(fdb.lookup(station(2), 7, kStart_ns) == std::nullopt);
  fdb.learn(4, station(1), 8, kStart_ns);
  CHECK(fdb.lookup(station(1), 7, kStart_ns) == PortId{3});
  CHECK(fdb.lookup(station(1), 8, kStart_ns) == PortId{4});
  CHECK(fdb.station_count() == 2);
}

TEST_CASE("a station moves with its first frame from the new port") {
  Fdb fdb{FdbConfig(1)};
  fdb.learn(1, station(1), 0, kStart_ns);
  fdb.learn(2, station(1), 0, kStart_ns + 1);
  CHECK(fdb.lookup(station(1), 0, kStart_ns + 1) == PortId{2});
  CHECK(fdb.station_count() == 1);
  CHECK(fdb.station_count(1) == 0);
  CHECK(fdb.station_count(2) == 1);
}

TEST_CASE("moves are counted, with where from and when, until the station is forgotten") {
  Fdb fdb{FdbConfig(1)};
  const auto look = [&](uint64_t now_ns) {
    return fdb.find_station(station(1), 0, now_ns).value();
  };
  fdb.learn(1, station(1), 0, kStart_ns);
  fdb.learn(1, station(1), 0, kStart_ns + 1);
  CHECK(look(kStart_ns + 1).move_count == 0);
  CHECK(look(kStart_ns + 1).moved_ago_ns == 0);
  fdb.learn(2, station(1), 0, kStart_ns + 10);
  fdb.learn(2, station(1), 0, kStart_ns + 20);
  CHECK(look(kStart_ns + 30).move_count == 1);
  CHECK(look(kStart_ns + 30).moved_from == 1);
  CHECK(look(kStart_ns + 30).moved_ago_ns == 20);
  fdb.learn(1, station(1), 0, kStart_ns + 40);
  CHECK(look(kStart_ns + 40).move_count == 2);
  CHECK(look(kStart_ns + 40).moved_from == 2);
  fdb.learn(3, station(1), 9, kStart_ns + 40);  // another VLAN: another station
  CHECK(look(kStart_ns + 40).move_count == 2);
  fdb.forget_port(1);
  fdb.learn(2, station(1), 0, kStart_ns + 50);
  CHECK(look(kStart_ns + 50).move_count == 0);
}

TEST_CASE("group source addresses are never learned") {
  Fdb fdb{FdbConfig(1)};
  const Mac group{{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}};
  fdb.learn(1, group, 0, kStart_ns);
  fdb.learn(1, netstack::kBroadcast, 0, kStart_ns);
  CHECK(fdb.station_count() == 0);
  CHECK(fdb.lookup(group, 0, kStart_ns) == std::nullopt);
}

TEST_CASE("a silent station is forgotten when the aging time is reached, a talking one is kept") {
  Fdb fdb{FdbConfig(1)};
  const uint64_t aging_ns = fdb.config().aging_ns;
  CHECK(aging_ns == 300 * kSecond_ns);
  fdb.learn(1, station(1), 0, kStart_ns);
  fdb.learn(1, station(2), 0, kStart_ns);
  fdb.learn(1, station(2), 0, kStart_ns + aging_ns / 2);
  CHECK(fdb.lookup(station(1), 0, kStart_ns + aging_ns - 1) == PortId{1});
  CHECK(fdb.lookup(station(1), 0, kStart_ns + aging_ns) == std::nullopt);
  CHECK(fdb.lookup(station(2), 0, kStart_ns + aging_ns) == PortId{1});
  CHECK(fdb.lookup(station(2), 0, kStart_ns + aging_ns + aging_ns / 2) == std::nullopt);
}

TEST_CASE("old entries are swept out by learning, a few at a time") {
  Fdb fdb{small_table(100)};
  const uint64_t aging_ns = fdb.config().aging_ns;
  for (uint32_t n = 0; n < 100; ++n) fdb.learn(1 + n % 5, station(n), 0, kStart_ns);
  const uint64_t later_ns = kStart_ns + aging_ns;
  fdb.learn(6, station(1000), 0, later_ns);
  CHECK(fdb.station_count() == 99);  // two went, one came
  for (uint32_t n = 0; n < 60; ++n) fdb.learn(6, station(1000), 0, later_ns);
  CHECK(fdb.station_count() == 1);
  for (PortId port = 1; port <= 5; ++port) CHECK(fdb.station_count(port) == 0);
}

TEST_CASE("a port that has left takes its stations with it and nobody else's") {
  Fdb fdb{FdbConfig(1)};
  for (uint32_t n = 0; n < 300; ++n) fdb.learn(1 + n % 3, station(n), 0, kStart_ns);
  fdb.forget_port(2);
  CHECK(fdb.station_count() == 200);
  CHECK(fdb.station_count(2) == 0);
  for (uint32_t n = 0; n < 300; ++n) {
    const PortId port = 1 + n % 3;
    const auto expected = port == 2 ? std::nullopt : std::optional<PortId>(port);
    CHECK(fdb.lookup(station(n), 0, kStart_ns) == expected);
  }
  fdb.forget_port(2);  // nothing to do
  fdb.learn(2, station(1), 0, kStart_ns);
  CHECK(fdb.lookup(station(1), 0, kStart_ns) == PortId{2});
}

TEST_CASE("port ids reach the configured limit") {
  FdbConfig config(1);
  Fdb fdb{config};
  for (PortId port = 1; port <= config.port_count_max; ++port) {
    fdb.learn(port, station(port), 0, kStart_ns);
  }
  CHECK(fdb.station_count() == config.port_count_max);
  CHECK(fdb.lookup(station(config.port_count_max), 0, kStart_ns) == config.port_count_max);
  CHECK(fdb.station_count(config.port_count_max + 1) == 0);
}

TEST_CASE("for_each tells every live station once, longest silent first") {
  Fdb fdb{FdbConfig(1)};
  fdb.learn(1, station(1), 5, kStart_ns);
  fdb.learn(2, station(2), 4095, kStart_ns + 1 * kSecond_ns);
  fdb.learn(3, station(3), 0, kStart_ns + 2 * kSecond_ns);
  std::vector<vlan::Station> seen;
  const auto collect = [&seen](const vlan::Station& one) { seen.push_back(one); };
  fdb.for_each(kStart_ns + 3 * kSecond_ns, collect);
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].mac == station(1));
  CHECK(seen[0].vid == 5);
  CHECK(seen[0].port == 1);
  CHECK(seen[0].age_ns == 3 * kSecond_ns);
  CHECK(seen[1].vid == 4095);
  CHECK(seen[2].mac == station(3));

  seen.clear();
  fdb.for_each(kStart_ns + fdb.config().aging_ns, collect);
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].mac == station(2));
}

TEST_CASE("learning tells what it learned") {
  Fdb fdb{FdbConfig(1)};
  using vlan::Learned;
  CHECK(fdb.learn(1, station(1), 0, kStart_ns) == Learned::kNew);
  CHECK(fdb.learn(1, station(1), 0, kStart_ns) == Learned::kNothing);
  CHECK(fdb.learn(1, station(1), 5, kStart_ns) == Learned::kNew);
  CHECK(fdb.learn(2, station(1), 0, kStart_ns) == Learned::kMoved);
  CHECK(fdb.learn(2, station(1), 0, kStart_ns) == Learned::kNothing);
  CHECK(fdb.learn(1, netstack::kBroadcast, 0, kStart_ns) == Learned::kNothing);
}

TEST_CASE("one station can be looked at, and a VLAN of a port or everything forgotten") {
  Fdb fdb{FdbConfig(1)};
  for (uint32_t n = 0; n < 90; ++n) {
    fdb.learn(1 + n % 3, station(n), static_cast<uint16_t>(n % 2), kStart_ns + n);
  }
  const auto found = fdb.find_station(station(4), 0, kStart_ns + 104);
  REQUIRE(found);
  CHECK(found->mac == station(4));
  CHECK(found->port == 2);
  CHECK(found->age_ns == 100);
  CHECK(!fdb.find_station(station(4), 1, kStart_ns + 104));
  CHECK(!fdb.find_station(station(4), 0, kStart_ns + 4 + fdb.config().aging_ns));

  fdb.forget_port(2, 0);
  CHECK(fdb.station_count(2) == 15);
  CHECK(fdb.station_count() == 75);
  CHECK(!fdb.lookup(station(4), 0, kStart_ns + 90));
  CHECK(fdb.lookup(station(1), 1, kStart_ns + 90) == PortId{2});
  fdb.flush();
  CHECK(fdb.station_count() == 0);
  for (PortId port = 1; port <= 3; ++port) CHECK(fdb.station_count(port) == 0);
  fdb.learn(2, station(4), 0, kStart_ns + 100);
  CHECK(fdb.lookup(station(4), 0, kStart_ns + 100) == PortId{2});
}

TEST_CASE("the aging time can be changed and counts for what is known already") {
  Fdb fdb{FdbConfig(1)};
  fdb.learn(1, station(1), 0, kStart_ns);
  fdb.set_aging(100 * kSecond_ns);
  CHECK(fdb.lookup(station(1), 0, kStart_ns + 100 * kSecond_ns - 1) == PortId{1});
  CHECK(!fdb.lookup(station(1), 0, kStart_ns + 100 * kSecond_ns));
  fdb.set_aging(200 * kSecond_ns);
  CHECK(fdb.lookup(station(1), 0, kStart_ns + 100 * kSecond_ns) == PortId{1});
  fdb.set_aging(0);  // nothing is ever known
  CHECK(!fdb.lookup(station(1), 0, kStart_ns));
}

TEST_CASE("the station limit can be changed, both ways, at the price of a flush") {
  Fdb fdb{small_table(4)};
  for (const uint32_t limit : {100U, 3U, 5000U, 1U}) {
    CAPTURE(limit);
    fdb.set_station_limit(limit);
    CHECK(fdb.station_count() == 0);
    for (uint32_t n = 0; n < 6000; ++n) fdb.learn(1 + n % 7, station(n), 0, kStart_ns + n);
    CHECK(fdb.station_count() == limit);
    CHECK(fdb.lookup(station(5999), 0, kStart_ns + 6000) == PortId{1 + 5999 % 7});
  }
}

TEST_CASE("VDE's hash size is rounded up, flushes, and says in which bucket a station is") {
  Fdb fdb{FdbConfig(1)};
  CHECK(fdb.hash_size() == 128);
  fdb.learn(1, station(1), 0, kStart_ns);
  fdb.set_hash_size(100);
  CHECK(fdb.hash_size() == 128);
  CHECK(fdb.station_count() == 0);
  for (const auto& [asked, given] : {std::pair{1U, 1U}, std::pair{0U, 1U}, std::pair{129U, 256U},
                                     std::pair{~0U, vlan::kHashSizeMax}}) {
    fdb.set_hash_size(asked);
    CHECK(fdb.hash_size() == given);
  }
  fdb.set_hash_size(16);
  std::map<uint32_t, int> buckets;
  for (uint32_t n = 0; n < 1600; ++n) fdb.learn(1, station(n), 0, kStart_ns);
  fdb.for_each(kStart_ns, [&](const vlan::Station& one) { ++buckets[one.bucket]; });
  REQUIRE(buckets.size() == 16);
  for (const auto& [bucket, count] : buckets) {
    CHECK(bucket < 16);
    CHECK(count > 20);
  }
}

TEST_CASE("VDE's other number is kept, and changes nothing") {
  Fdb fdb{FdbConfig(1)};
  CHECK(fdb.dials().gc_interval_s == 2);
  fdb.dials() = {.gc_interval_s = 7};
  CHECK(fdb.dials().gc_interval_s == 7);
  fdb.learn(1, station(1), 0, kStart_ns);
  fdb.learn(2, station(1), 0, kStart_ns);  // a move is believed at once
  CHECK(fdb.lookup(station(1), 0, kStart_ns) == PortId{2});
}

namespace {

// Keeps its own table from what it is told.
struct BookKeeper final : vlan::StationWatcher {
  void station_came(const vlan::Station& station) noexcept override {
    CHECK(known.insert({station.mac, station.vid, station.port}).second);
  }
  void station_left(const vlan::Station& station) noexcept override {
    CHECK(known.erase({station.mac, station.vid, station.port}) == 1);
  }
  std::set<std::tuple<Mac, uint16_t, PortId>> known;
};

}  // namespace

TEST_CASE("a watcher is told of all that comes and goes") {
  Fdb fdb{small_table(50)};
  BookKeeper books;
  fdb.watch(&books);
  const auto agrees = [&](uint64_t now_ns) {
    std::set<std::tuple<Mac, uint16_t, PortId>> held;
    fdb.for_each(now_ns, [&](const auto& one) { held.insert({one.mac, one.vid, one.port}); });
    return held == books.known;
  };
  for (uint32_t n = 0; n < 200; ++n) fdb.learn(1 + n % 3, station(n % 70), 0, kStart_ns);
  CHECK(books.known.size() == 50);
  CHECK(agrees(kStart_ns));
  fdb.forget_port(2);
  CHECK(agrees(kStart_ns));
  for (uint32_t n = 0; n < 60; ++n) {  // sweeps the old ones out
    fdb.learn(1, station(1), 0, kStart_ns + fdb.config().aging_ns);
  }
  CHECK(books.known.size() == 1);
  fdb.flush();
  CHECK(books.known.empty());
  fdb.watch(nullptr);
  fdb.learn(1, station(1), 0, kStart_ns);
  CHECK(books.known.empty());
}

TEST_CASE("a guest that invents addresses only pushes out its own stations") {
  Fdb fdb{FdbConfig(1)};
  constexpr PortId kVictim = 1, kFlooder = 2, kLatecomer = 3;
  uint64_t now_ns = kStart_ns;
  for (uint32_t n = 0; n < 100; ++n) fdb.learn(kVictim, station(n), 0, now_ns);
  std::mt19937_64 random(7);
  for (int n = 0; n < 100'000; ++n) {
    fdb.learn(kFlooder, invented(random()), static_cast<uint16_t>(random() % 4096), ++now_ns);
  }
  CHECK(fdb.station_count() == vlan::kFdbStationsDefault);
  CHECK(fdb.station_count(kVictim) == 100);
  for (uint32_t n = 0; n < 100; ++n) CHECK(fdb.lookup(station(n), 0, now_ns) == kVictim);

  // A port that comes while the table is full finds room, at the flooder's cost.
  for (uint32_t n = 1000; n < 1100; ++n) fdb.learn(kLatecomer, station(n), 0, ++now_ns);
  CHECK(fdb.station_count(kLatecomer) == 100);
  CHECK(fdb.station_count(kVictim) == 100);
  CHECK(fdb.station_count(kFlooder) == vlan::kFdbStationsDefault - 200);
}

TEST_CASE("a port at its fair share pays with its own longest silent station") {
  Fdb fdb{small_table(8)};
  for (uint32_t n = 0; n < 4; ++n) fdb.learn(1, station(n), 0, kStart_ns + n);
  for (uint32_t n = 10; n < 14; ++n) fdb.learn(2, station(n), 0, kStart_ns + n);
  fdb.learn(1, station(0), 0, kStart_ns + 20);  // heard again: station 1 is the oldest now
  fdb.learn(1, station(99), 0, kStart_ns + 21);
  CHECK(fdb.lookup(station(1), 0, kStart_ns + 21) == std::nullopt);
  CHECK(fdb.lookup(station(0), 0, kStart_ns + 21) == PortId{1});
  CHECK(fdb.lookup(station(99), 0, kStart_ns + 21) == PortId{1});
  CHECK(fdb.station_count(2) == 4);
}

TEST_CASE("more ports than entries: the table still works") {
  Fdb fdb{small_table(2)};
  for (PortId port = 1; port <= 64; ++port) {
    fdb.learn(port, station(port), 0, kStart_ns + port);
    CHECK(fdb.lookup(station(port), 0, kStart_ns + port) == port);
  }
  CHECK(fdb.station_count() == 2);
}

TEST_CASE("what is found does not depend on the hash seed") {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{0x1234'5678'9abc}}) {
    CAPTURE(seed);
    Fdb fdb{small_table(4096, seed)};
    for (uint32_t n = 0; n < 4096; ++n) {
      fdb.learn(1 + n % 64, station(n), static_cast<uint16_t>(n % 11), kStart_ns);
    }
    uint32_t found_count = 0;
    for (uint32_t n = 0; n < 4096; ++n) {
      const auto port = fdb.lookup(station(n), static_cast<uint16_t>(n % 11), kStart_ns);
      if (port == PortId{1 + n % 64}) ++found_count;
    }
    CHECK(found_count == 4096);
  }
}

// --- against a model -------------------------------------------------------------------------

namespace {

struct Known {
  PortId port;
  uint64_t heard_ns;
  uint64_t order;  // which learn() it was: tells two of the same time apart
};
using Table = std::map<uint32_t, Known>;  // by station number

std::map<uint32_t, PortId> contents(const Fdb& fdb, uint32_t universe, uint64_t now_ns) {
  std::map<uint32_t, PortId> table;
  for (uint32_t n = 0; n < universe; ++n) {
    if (const auto port = fdb.lookup(station(n), 0, now_ns)) table[n] = *port;
  }
  return table;
}

// The stations whose eviction the rule allows when `ingress` brings a new one: the longest silent
// of a port that has to pay. Two ports may hold equally many.
std::set<uint32_t> may_be_evicted(const Table& table, PortId ingress, uint32_t limit) {
  std::map<PortId, uint32_t> counts;
  for (const auto& [number, known] : table) ++counts[known.port];
  const auto holders = static_cast<uint32_t>(counts.size());
  uint32_t most = 0;
  for (const auto& [port, count] : counts) most = std::max(most, count);
  const bool own = counts.contains(ingress) && counts[ingress] >= std::max(1U, limit / holders);
  std::set<uint32_t> candidates;
  for (const auto& [payer, count] : counts) {
    if (own ? payer != ingress : count != most) continue;
    std::optional<uint32_t> oldest;
    for (const auto& [number, known] : table) {
      if (known.port != payer) continue;
      if (!oldest || known.order < table.at(*oldest).order) oldest = number;
    }
    candidates.insert(*oldest);
  }
  return candidates;
}

void run_against_model(uint64_t seed) {
  constexpr uint32_t kUniverse = 48;
  std::mt19937_64 random(seed);
  const auto limit = static_cast<uint32_t>(1 + random() % 24);
  const auto port_count = static_cast<PortId>(1 + random() % 6);
  FdbConfig config = small_table(limit, random());
  config.aging_ns = 100;
  Fdb fdb{config};
  Table model;
  uint64_t now_ns = kStart_ns;
  uint64_t evictions = 0;
  for (uint64_t order = 1; order <= 400; ++order) {
    now_ns += random() % 4;
    std::erase_if(model, [&](const auto& one) { return now_ns - one.second.heard_ns >= 100; });
    const auto port = static_cast<PortId>(1 + random() % port_count);
    if (random() % 50 == 0) {
      fdb.forget_port(port);
      std::erase_if(model, [&](const auto& one) { return one.second.port == port; });
    } else {
      const auto number = static_cast<uint32_t>(random() % kUniverse);
      fdb.learn(port, station(number), 0, now_ns);
      if (!model.contains(number) && model.size() == limit) {
        const auto candidates = may_be_evicted(model, port, limit);
        const auto now = contents(fdb, kUniverse, now_ns);
        std::vector<uint32_t> gone;
        for (const auto& [known, unused] : model) {
          if (!now.contains(known)) gone.push_back(known);
        }
        REQUIRE(gone.size() == 1);
        REQUIRE(candidates.contains(gone.front()));
        model.erase(gone.front());
        ++evictions;
      }
      model[number] = {port, now_ns, order};
    }
    const auto now = contents(fdb, kUniverse, now_ns);
    REQUIRE(now.size() == model.size());
    for (const auto& [number, known] : model) REQUIRE(now.at(number) == known.port);
    REQUIRE(fdb.station_count() <= limit);
  }
  if (limit < 4 && port_count > 1) CHECK(evictions > 0);
}

}  // namespace

TEST_CASE("learning, moving, aging and evicting agree with a model") {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    run_against_model(seed);
  }
}
