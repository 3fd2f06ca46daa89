// What the storm guard takes for a loop and what it does not, on one switch.
#include "vlan/storm_guard.h"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "netstack/port/memory_port.h"
#include "vlan/switch.h"

using netstack::DropReason;
using netstack::kBroadcast;
using netstack::Mac;
using netstack::MemoryPort;
using netstack::PortId;
using vlan::Switch;

namespace {

using Bytes = std::vector<uint8_t>;

Mac station(uint32_t number) {
  return {{0x52, 0x54, 0, static_cast<uint8_t>(number >> 16U), static_cast<uint8_t>(number >> 8U),
           static_cast<uint8_t>(number)}};
}

Bytes make_frame(const Mac& to, const Mac& from, uint32_t number = 0) {
  Bytes bytes(to.octets.begin(), to.octets.end());
  bytes.insert(bytes.end(), from.octets.begin(), from.octets.end());
  bytes.insert(bytes.end(), {0x08, 0x00});
  for (unsigned shift = 0; shift < 32; shift += 8) {
    bytes.push_back(static_cast<uint8_t>(number >> shift));
  }
  bytes.resize(60);
  return bytes;
}

struct Lan {
  explicit Lan(PortId port_count) {
    for (PortId id = 1; id <= port_count; ++id) {
      ports.push_back(std::make_unique<MemoryPort>("port", MemoryPort::Keep::kCountOnly));
      bridge.attach(*ports.back());
    }
  }
  void inject(PortId id, const Bytes& frame) { ports[id - 1]->inject(frame); }
  void inject(PortId id, const std::vector<Bytes>& burst) { ports[id - 1]->inject(burst); }
  // A broadcast comes by ports 1 and 2 in turn, as fast as one that goes round.
  void loop_1_and_2() {
    for (uint32_t number = 0; number < 1000; ++number) {
      inject(1 + number % 2, make_frame(kBroadcast, station(1)));
      clock.advance_ns(10'000);
    }
  }
  void check_untouched(size_t frame_count) {
    CHECK(bridge.storm_guard().engagement_count() == 0);
    CHECK(ports.back()->received_count() == frame_count);
  }

  netstack::ManualClock clock;
  std::vector<std::unique_ptr<MemoryPort>> ports;
  Switch bridge{clock, vlan::FdbConfig(1)};
};

}  // namespace

TEST_CASE("broadcasts at full speed pass, on a switch and on a hub") {
  for (const bool hub : {false, true}) {
    CAPTURE(hub);
    Lan lan(4);
    lan.bridge.set_hub(hub);
    const std::vector<Bytes> same(64, make_frame(kBroadcast, station(1)));
    for (int burst = 0; burst < 2000; ++burst) {
      lan.ports[0]->inject(same);
      lan.inject(2, make_frame(kBroadcast, station(2)));
      lan.clock.advance_ns(1000);
    }
    lan.check_untouched(size_t{2000} * 65);
  }
}

TEST_CASE("an ARP storm of a thousand hosts behind one port passes") {
  Lan lan(3);
  for (uint32_t round = 0; round < 20; ++round) {
    for (uint32_t host = 0; host < 1000; ++host) {
      lan.inject(1, make_frame(kBroadcast, station(host), host));
      lan.clock.advance_ns(100);
    }
  }
  lan.check_untouched(20'000);
}

TEST_CASE("a thousand stations move at once, and back") {
  Lan lan(3);
  for (const PortId port : {1, 2, 1, 2}) {
    for (uint32_t host = 0; host < 1000; ++host) {
      lan.inject(port, make_frame(kBroadcast, station(host), host * 4 + port));
      lan.clock.advance_ns(100);
    }
  }
  lan.check_untouched(4000);
}

TEST_CASE("a bond that sends round robin over two ports passes") {
  Lan lan(3);
  for (uint32_t number = 0; number < 100'000; ++number) {
    lan.inject(1 + number % 2, make_frame(kBroadcast, station(1), number));
    lan.clock.advance_ns(1000);
  }
  lan.check_untouched(100'000);
}

TEST_CASE("two guests with the same address and the same words are no loop at ordinary rates") {
  Lan lan(3);
  for (uint32_t number = 0; number < 1000; ++number) {
    lan.inject(1 + number % 2, make_frame(kBroadcast, station(1)));
    lan.clock.advance_ns(vlan::kCopyWindow_ns);
  }
  lan.check_untouched(1000);
}

TEST_CASE("a station that says the same by two ports in turn passes, and so do a few like it") {
  for (const uint32_t station_count : {1U, 4U}) {
    Lan lan(3);
    for (uint32_t number = 0; number < 4000; ++number) {
      const uint32_t speaker = number % station_count;
      const PortId port = 1 + number / station_count % 2;
      lan.inject(port, make_frame(kBroadcast, station(speaker)));
      lan.clock.advance_ns(5 * netstack::kMillisecond_ns / station_count);
    }
    lan.check_untouched(4000);
  }
}

TEST_CASE("at loop-like rates they are") {
  Lan lan(3);
  lan.inject(1, make_frame(kBroadcast, station(7)));
  lan.inject(3, make_frame(kBroadcast, station(8)));
  lan.loop_1_and_2();
  CHECK(lan.bridge.storm_guard().engagement_count() == 1);
  CHECK(lan.bridge.storm_guard().looping(1));
  CHECK(lan.bridge.storm_guard().looping(2));
  CHECK(!lan.bridge.storm_guard().looping(3));
  // What was learned from echoes is forgotten, and nothing else.
  const uint64_t now_ns = lan.clock.monotonic_ns();
  CHECK(!lan.bridge.fdb().lookup(station(7), 0, now_ns));
  CHECK(lan.bridge.fdb().lookup(station(8), 0, now_ns) == PortId{3});
}

TEST_CASE("while a loop is there, each frame of a burst is judged by itself") {
  Lan lan(3);
  lan.loop_1_and_2();
  REQUIRE(lan.bridge.storm_guard().engaged());
  const auto said = [](uint32_t number) { return make_frame(kBroadcast, station(9), number); };
  size_t passed = lan.ports[2]->received_count();
  lan.inject(1, said(1));
  lan.inject(2, std::vector{said(1), said(2), said(3)});  // a copy, and what is new
  CHECK(lan.ports[2]->received_count() == passed + 3);
  passed = lan.ports[2]->received_count();
  lan.inject(1, std::vector{said(4), said(5)});
  lan.inject(2, said(5));
  lan.inject(2, said(4));
  CHECK(lan.ports[2]->received_count() == passed + 2);
}

TEST_CASE("while a loop is there, only copies by its ports are dropped, and nothing is learned") {
  Lan lan(4);
  lan.loop_1_and_2();
  REQUIRE(lan.bridge.storm_guard().engaged());
  const auto port_of = [&](uint32_t number) {
    return lan.bridge.fdb().lookup(station(number), 0, lan.clock.monotonic_ns());
  };
  const auto storm_drops = [&](PortId id) {
    return lan.ports[id - 1]->counters().dropped(DropReason::kStorm);
  };
  const uint64_t dropped_before = storm_drops(1);
  lan.inject(3, make_frame(kBroadcast, station(9), 1));
  lan.inject(1, make_frame(kBroadcast, station(9), 1));  // a copy
  CHECK(storm_drops(1) == dropped_before + 1);
  CHECK(port_of(9) == PortId{3});
  lan.inject(4, make_frame(kBroadcast, station(9), 1));  // the same, but not by a looping port
  CHECK(port_of(9) == PortId{4});
  lan.inject(1, make_frame(kBroadcast, station(9), 2));  // new
  CHECK(port_of(9) == PortId{1});
  lan.clock.advance_ns(vlan::kCopyWindow_ns);
  lan.inject(2, make_frame(kBroadcast, station(9), 2));  // said again later
  CHECK(port_of(9) == PortId{2});
  CHECK(storm_drops(1) == dropped_before + 1);
  CHECK(storm_drops(2) + storm_drops(1) > 1);

  // A known unicast between the two passes once, and into the LAN as often as it likes.
  lan.inject(1, make_frame(kBroadcast, station(10), 3));
  lan.inject(3, make_frame(kBroadcast, station(11), 4));
  const size_t to_port_1 = lan.ports[0]->received_count(),
               to_port_3 = lan.ports[2]->received_count();
  for (int times = 0; times < 3; ++times) {
    lan.inject(2, make_frame(station(10), station(9), 5));
    lan.inject(2, make_frame(station(11), station(9), 6));
  }
  CHECK(lan.ports[0]->received_count() == to_port_1 + 1);
  CHECK(lan.ports[2]->received_count() == to_port_3 + 3);

  lan.clock.advance_ns(vlan::kGuard_ns);
  lan.inject(1, make_frame(kBroadcast, station(9), 7));
  CHECK(!lan.bridge.storm_guard().engaged());
  CHECK(!lan.bridge.storm_guard().looping(1));
}
