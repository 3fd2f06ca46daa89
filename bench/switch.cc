// What the switch costs per frame, without any system call: memory ports that only count.
// items_per_second is frames (or table operations) per second; time_per_item its inverse.
#include "vlan/switch.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "netstack/port/memory_port.h"
#include "vlan/fdb.h"

namespace {

using netstack::Frame;
using netstack::kBurstFrames;
using netstack::Mac;
using netstack::MemoryPort;
using netstack::PortId;

constexpr uint64_t kSeed = 0x1a27'a9d0'0000'0001;
constexpr uint32_t kFrameBytes = 1514;

void report_items(benchmark::State& state, uint64_t items) {
  state.SetItemsProcessed(static_cast<int64_t>(items));
  state.counters["time_per_item"] = benchmark::Counter(
      static_cast<double>(items), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

Mac station(uint32_t number) {
  return {{0x52, 0x54, static_cast<uint8_t>(number >> 24U), static_cast<uint8_t>(number >> 16U),
           static_cast<uint8_t>(number >> 8U), static_cast<uint8_t>(number)}};
}

std::vector<Mac> random_stations(uint32_t count) {
  std::mt19937_64 random(kSeed);
  std::vector<Mac> stations;
  for (uint32_t n = 0; n < count; ++n) {
    const uint64_t bits = random();
    stations.push_back(Mac::read(reinterpret_cast<const uint8_t*>(&bits)));
    stations.back().octets[0] = 0x52;
  }
  return stations;
}

void BM_fdb_lookup(benchmark::State& state) {
  vlan::Fdb fdb{vlan::FdbConfig(kSeed)};
  const auto stations = random_stations(static_cast<uint32_t>(state.range(0)));
  for (const Mac& mac : stations) fdb.learn(1 + mac.octets[5] % 16U, mac, 0, 1);
  size_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(fdb.lookup(stations[at], 0, 2));
    if (++at == stations.size()) at = 0;
  }
  report_items(state, state.iterations());
}
BENCHMARK(BM_fdb_lookup)->Arg(2)->Arg(100)->Arg(8192);

// Stations that are known already, each from its own port.
void BM_fdb_learn(benchmark::State& state) {
  vlan::Fdb fdb{vlan::FdbConfig(kSeed)};
  const auto stations = random_stations(static_cast<uint32_t>(state.range(0)));
  size_t at = 0;
  uint64_t now_ns = 1;
  for (auto _ : state) {
    fdb.learn(1 + stations[at].octets[5] % 16U, stations[at], 0, ++now_ns);
    if (++at == stations.size()) at = 0;
  }
  report_items(state, state.iterations());
}
BENCHMARK(BM_fdb_learn)->Arg(2)->Arg(100)->Arg(8192);

// The worst case: the table is full and every address is new.
void BM_fdb_learn_flood(benchmark::State& state) {
  vlan::Fdb fdb{vlan::FdbConfig(kSeed)};
  const auto stations = random_stations(1U << 20U);
  size_t at = 0;
  for (auto _ : state) {
    fdb.learn(1, stations[at], 0, 1);
    if (++at == stations.size()) at = 0;
  }
  report_items(state, state.iterations());
}
BENCHMARK(BM_fdb_learn_flood);

// A switch whose ports only count, and a burst from port 1 to send through it again and again.
struct Rig {
  explicit Rig(PortId port_count) {
    for (PortId id = 1; id <= port_count; ++id) {
      ports.push_back(
          std::make_unique<MemoryPort>("port" + std::to_string(id), MemoryPort::Keep::kCountOnly));
      bridge.attach(*ports.back());
    }
  }
  // `station` speaks once from `port`, so that it is known.
  void announce(PortId port, const Mac& from) {
    std::vector<uint8_t> bytes = frame_bytes(netstack::kBroadcast, from);
    ports[port - 1]->inject(bytes);
  }
  static std::vector<uint8_t> frame_bytes(const Mac& to, const Mac& from) {
    std::vector<uint8_t> bytes(kFrameBytes);
    to.write(bytes.data());
    from.write(bytes.data() + 6);
    bytes[12] = 0x08;
    return bytes;
  }
  void add_to_burst(const Mac& to, const Mac& from) {
    storage.push_back(frame_bytes(to, from));
    batch.add(storage.back().data(), storage.back().size());
  }
  void measure(benchmark::State& state) {
    const std::span<Frame> burst = batch.frames();
    for (auto _ : state) ports.front()->inject(burst);
    report_items(state, state.iterations() * burst.size());
  }

  netstack::SystemClock clock;
  std::vector<std::unique_ptr<MemoryPort>> ports;
  vlan::Switch bridge{clock, vlan::FdbConfig(kSeed)};
  std::vector<std::vector<uint8_t>> storage;
  netstack::FrameBatch<kBurstFrames> batch;
};

// One guest sends to one other: every frame after the first repeats the addresses before it.
void BM_switch_unicast(benchmark::State& state) {
  Rig rig(8);
  rig.announce(2, station(2));
  for (int64_t n = 0; n < state.range(0); ++n) rig.add_to_burst(station(2), station(1));
  rig.measure(state);
}
BENCHMARK(BM_switch_unicast)->Arg(1)->Arg(8)->Arg(64);

// One guest answers many, in turn: each frame is a lookup and a run of its own.
void BM_switch_unicast_scattered(benchmark::State& state) {
  Rig rig(8);
  for (uint32_t n = 0; n < 64; ++n) rig.announce(2 + n % 7, station(100 + n));
  for (uint32_t n = 0; n < static_cast<uint32_t>(state.range(0)); ++n) {
    rig.add_to_burst(station(100 + n), station(1));
  }
  rig.measure(state);
}
BENCHMARK(BM_switch_unicast_scattered)->Arg(1)->Arg(8)->Arg(64);

// An uplink brings frames of many stations for one guest: each frame is a learn and a lookup.
void BM_switch_unicast_gathered(benchmark::State& state) {
  Rig rig(8);
  rig.announce(2, station(2));
  for (uint32_t n = 0; n < static_cast<uint32_t>(state.range(0)); ++n) {
    rig.add_to_burst(station(2), station(100 + n));
  }
  rig.measure(state);
}
BENCHMARK(BM_switch_unicast_gathered)->Arg(1)->Arg(8)->Arg(64);

// Eight ports: each frame leaves by seven.
void BM_switch_flood(benchmark::State& state) {
  Rig rig(8);
  for (int64_t n = 0; n < state.range(0); ++n) {
    rig.add_to_burst(netstack::kBroadcast, station(1));
  }
  rig.measure(state);
}
BENCHMARK(BM_switch_flood)->Arg(1)->Arg(8)->Arg(64);

// The same train in VLAN mode. 0: access port to access port, tags are neither there nor put on;
// 1: access port to trunk, a tag is pushed.
void BM_switch_vlan_unicast(benchmark::State& state) {
  Rig rig(8);
  vlan::Vlans& vlans = rig.bridge.vlans();
  vlans.create(10);
  for (PortId id = 1; id <= 8; ++id) vlans.set_pvid(id, 10);
  if (state.range(1) == 1) {
    vlans.set_pvid(2, vlan::kNoVid);
    vlans.add_tagged(10, 2);
  }
  std::vector<uint8_t> announcement = Rig::frame_bytes(netstack::kBroadcast, station(2));
  if (state.range(1) == 1) {
    announcement[12] = 0x81;
    announcement[13] = 0x00;
    announcement[15] = 10;
  }
  rig.ports[1]->inject(announcement);
  for (int64_t n = 0; n < state.range(0); ++n) rig.add_to_burst(station(2), station(1));
  rig.measure(state);
}
BENCHMARK(BM_switch_vlan_unicast)->ArgsProduct({{1, 8, 64}, {0, 1}});

// The same train through a hub of eight ports.
void BM_switch_hub(benchmark::State& state) {
  Rig rig(8);
  rig.bridge.set_hub(true);
  for (int64_t n = 0; n < state.range(0); ++n) rig.add_to_burst(station(2), station(1));
  rig.measure(state);
}
BENCHMARK(BM_switch_hub)->Arg(1)->Arg(8)->Arg(64);

}  // namespace
