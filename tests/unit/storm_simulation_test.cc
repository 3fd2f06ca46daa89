// Loops between switches, on cables that are memory and a clock that is turned by hand.
#include <doctest/doctest.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "netstack/port/memory_port.h"
#include "vlan/storm_guard.h"
#include "vlan/switch.h"

using netstack::DropReason;
using netstack::kBroadcast;
using netstack::kMillisecond_ns;
using netstack::kSecond_ns;
using netstack::Mac;
using netstack::MemoryPort;
using netstack::PortId;
using vlan::Switch;

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kHop_ns = 20'000;  // what a frame needs from switch to switch, and
constexpr uint64_t kSlowHop_ns = 7 * kMillisecond_ns;  // on a machine that is busy with others
constexpr size_t kCableFramesMax = 500;                // a socket's queue
constexpr int kStepsMax = 20'000;                      // 400 ms

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

class CableEnd final : public netstack::Port {
 public:
  explicit CableEnd(size_t& carried) : Port("cable", netstack::kFrameBytesMax), carried_(carried) {}
  void connect(CableEnd& peer) { peer_ = &peer; }
  bool idle() const { return inbox_.empty(); }
  void pull() {
    if (inbox_.empty()) return;
    netstack::FrameBatch<netstack::kBurstFrames> batch;
    std::deque<Bytes> frames;
    while (!inbox_.empty() && !batch.full()) {
      frames.push_back(std::move(inbox_.front()));
      inbox_.pop_front();
      batch.add(frames.back().data(), frames.back().size());
    }
    deliver(batch.frames());
  }

 protected:
  size_t transmit(std::span<const netstack::Frame> burst) noexcept override {
    size_t taken = 0;
    for (const netstack::Frame& frame : burst) {
      if (peer_->inbox_.size() == kCableFramesMax) break;
      Bytes bytes(frame.bytes);
      netstack::copy_frame(frame, bytes.data());
      peer_->inbox_.push_back(std::move(bytes));
      ++carried_;
      ++taken;
    }
    return taken;
  }

 private:
  size_t& carried_;
  CableEnd* peer_ = nullptr;
  std::deque<Bytes> inbox_;
};

// Switches of ours, or of a kind that has neither table nor guard.
struct Net {
  explicit Net(size_t switch_count) {
    for (size_t at = 0; at < switch_count; ++at) {
      switches.push_back(std::make_unique<Switch>(clock, vlan::FdbConfig(at + 1)));
      switches.back()->storm_guard().on_storm([this, at](const vlan::StormReport& report) {
        said.emplace_back(at, std::vector<PortId>(report.ports.begin(), report.ports.end()));
      });
    }
  }
  ~Net() {
    for (auto& end : ends) {
      if (end) pull_out(end);
    }
  }
  Switch& at(size_t number) { return *switches[number]; }
  vlan::StormGuard& guard(size_t number) { return at(number).storm_guard(); }

  size_t add_host(size_t number) {
    hosts.push_back(std::make_unique<MemoryPort>("host"));
    at(number).attach(*hosts.back());
    return hosts.size() - 1;
  }
  // Returns the cable's number.
  size_t join(size_t one, size_t other) {
    ends.push_back(std::make_unique<CableEnd>(carried));
    ends.push_back(std::make_unique<CableEnd>(carried));
    CableEnd& left = *ends[ends.size() - 2];
    CableEnd& right = *ends.back();
    left.connect(right);
    right.connect(left);
    at(one).attach(left);
    at(other).attach(right);
    owners.push_back(one);
    owners.push_back(other);
    return ends.size() / 2 - 1;
  }
  void pull_cable(size_t cable) {
    pull_out(ends[2 * cable]);
    pull_out(ends[2 * cable + 1]);
  }
  void pull_out(std::unique_ptr<CableEnd>& end) {
    at(owners[static_cast<size_t>(&end - ends.data())]).detach(*end);
    end.reset();
  }

  // Turns until nothing is on its way; false when it never ends.
  bool settles() {
    for (int step = 0; step < kStepsMax; ++step) {
      bool idle = true;
      for (auto& end : ends) {
        if (!end) continue;
        idle = idle && end->idle();
        end->pull();
      }
      clock.advance_ns(hop_ns);
      if (idle) return true;
    }
    return false;
  }
  void send(size_t host, const Mac& to, uint32_t number) {
    hosts[host]->inject(make_frame(to, station(static_cast<uint32_t>(host)), number));
  }
  void clear() {
    for (auto& host : hosts) host->take();
  }
  // In a long ring the last switches need some broadcasts to notice the loop.
  void chat() {
    for (uint32_t round = 0; round < 3 * vlan::kEchoCountMax; ++round) {
      clock.advance_ns(kMillisecond_ns);
      send(round % hosts.size(), kBroadcast, ++serial);
      REQUIRE(settles());
    }
  }
  // What a host sends everybody else gets once; what it sends to one, that one gets.
  void check_in_order() {
    for (size_t host = 0; host < hosts.size(); ++host) {
      clear();
      const auto number = ++serial;
      send(host, kBroadcast, number);
      REQUIRE(settles());
      for (size_t other = 0; other < hosts.size(); ++other) {
        CAPTURE(host);
        CAPTURE(other);
        CHECK(hosts[other]->take().size() == (other == host ? 0 : 1));
      }
      clock.advance_ns(kMillisecond_ns);
    }
    for (size_t host = 0; host < hosts.size(); ++host) {
      for (size_t other = 0; other < hosts.size(); ++other) {
        if (host == other) continue;
        clear();
        send(host, station(static_cast<uint32_t>(other)), ++serial);
        REQUIRE(settles());
        CAPTURE(host);
        CAPTURE(other);
        CHECK(hosts[other]->take().size() == 1);
      }
    }
  }
  uint64_t storm_drops() const {
    uint64_t sum = 0;
    for (const auto& end : ends) {
      if (end) sum += end->counters().dropped(DropReason::kStorm);
    }
    return sum;
  }

  netstack::ManualClock clock;
  uint64_t hop_ns = kHop_ns;
  size_t carried = 0;  // frames put on cables
  uint32_t serial = 0;
  std::vector<std::pair<size_t, std::vector<PortId>>> said;  // by which switch, which ports
  std::vector<std::unique_ptr<MemoryPort>> hosts;
  std::vector<std::unique_ptr<Switch>> switches;  // destroyed before what is attached to them
  std::vector<std::unique_ptr<CableEnd>> ends;
  std::vector<size_t> owners;  // of ends
};

struct Topology {
  std::string name;
  size_t switch_count;
  std::vector<std::pair<size_t, size_t>> cables;
  size_t frames_max;  // on all cables together, until the storm is over
  void (*set_up)(Net&);
};

void leave_as_it_is(Net&) {}

void make_hubs(Net& net) {
  for (auto& one : net.switches) one->set_hub(true);
}

// All cables are tagged members of VLAN 10, all hosts its untagged members.
void make_trunks(Net& net) {
  for (auto& one : net.switches) {
    REQUIRE(one->vlans().create(10) == 0);
    one->for_each_port([&](netstack::Port& port) {
      if (port.name() == "cable") {
        REQUIRE(one->vlans().set_pvid(port.id(), vlan::kNoVid) == 0);
        REQUIRE(one->vlans().add_tagged(10, port.id()) == 0);
      } else {
        REQUIRE(one->vlans().set_pvid(port.id(), 10) == 0);
      }
    });
  }
}

const Topology kTopologies[] = {
    {"two switches, two cables", 2, {{0, 1}, {0, 1}}, 4000, leave_as_it_is},
    {"two switches, three cables", 2, {{0, 1}, {0, 1}, {0, 1}}, 30'000, leave_as_it_is},
    {"two switches, five cables",
     2,
     {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}},
     40'000,
     leave_as_it_is},
    {"a ring of three", 3, {{0, 1}, {1, 2}, {2, 0}}, 10'000, leave_as_it_is},
    {"a ring of five", 5, {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 0}}, 20'000, leave_as_it_is},
    {"one switch wired to itself", 1, {{0, 0}}, 3000, leave_as_it_is},
    {"one switch wired to itself twice", 1, {{0, 0}, {0, 0}}, 30'000, leave_as_it_is},
    {"two hubs, two cables", 2, {{0, 1}, {0, 1}}, 4000, make_hubs},
    {"a ring of three hubs", 3, {{0, 1}, {1, 2}, {2, 0}}, 10'000, make_hubs},
    {"two trunks", 2, {{0, 1}, {0, 1}}, 4000, make_trunks},
};

}  // namespace

namespace {

// One broadcast is enough to start a storm, and many to make it grow.
void check_loop(const Topology& topology, bool busy, uint64_t hop_ns) {
  CAPTURE(topology.name);
  CAPTURE(busy);
  CAPTURE(hop_ns);
  Net net(topology.switch_count);
  net.hop_ns = hop_ns;
  for (size_t at = 0; at < topology.switch_count; ++at) {
    net.add_host(at);
    net.add_host(at);
  }
  for (const auto& [one, other] : topology.cables) net.join(one, other);
  topology.set_up(net);

  for (uint32_t left = busy ? 50 : 1; left > 0; --left) {
    for (size_t host = 0; host < (busy ? net.hosts.size() : 1); ++host) {
      net.send(host, kBroadcast, ++net.serial);
    }
  }
  REQUIRE(net.settles());
  CHECK(net.carried < topology.frames_max);
  REQUIRE(!net.said.empty());
  for (const auto& [at, ports] : net.said) {
    for (const PortId id : ports) CHECK(net.at(at).port(id)->name() == "cable");
    CHECK(ports.size() >= 2);
  }
  net.chat();
  net.check_in_order();
}

}  // namespace

TEST_CASE("a loop is noticed after bounded traffic, and the LAN works while it is there") {
  for (const Topology& topology : kTopologies) {
    for (const bool busy : {false, true}) {
      for (const uint64_t hop_ns : {kHop_ns, kSlowHop_ns}) check_loop(topology, busy, hop_ns);
    }
  }
}

TEST_CASE("frames from group addresses, which nobody learns, go round no longer than others") {
  Net net(2);
  net.add_host(0);
  net.add_host(1);
  net.join(0, 1);
  net.join(0, 1);
  for (uint32_t number = 1; number <= 20; ++number) {
    net.hosts[0]->inject(make_frame(kBroadcast, kBroadcast, number));
    REQUIRE(net.settles());
  }
  CHECK(net.said.size() == 2);
  net.clear();
  net.hosts[0]->inject(make_frame(kBroadcast, kBroadcast, 21));
  REQUIRE(net.settles());
  CHECK(net.hosts[1]->take().size() == 1);
}

TEST_CASE("a loop that stays is held down as long as there is traffic, and said once") {
  Net net(2);
  net.add_host(0);
  net.add_host(1);
  net.join(0, 1);
  net.join(0, 1);
  for (int minute = 0; minute < 10; ++minute) {
    for (int second = 0; second < 60; ++second) {
      const size_t carried_before = net.carried;
      net.send(0, kBroadcast, ++net.serial);
      REQUIRE(net.settles());
      net.send(1, kBroadcast, ++net.serial);
      REQUIRE(net.settles());
      if (minute + second > 0) CHECK(net.carried - carried_before <= 8);
      net.clock.advance_ns(kSecond_ns);
    }
  }
  for (size_t at = 0; at < 2; ++at) {
    CAPTURE(at);
    CHECK(net.guard(at).engaged());
    CHECK(net.guard(at).engagement_count() == 1);
    CHECK(net.guard(at).episode_count() == 1);
  }
  CHECK(net.said.size() == 2);
  CHECK(net.storm_drops() > 0);
}

TEST_CASE("when a cable is pulled the LANs stay joined, and the episode ends") {
  for (const size_t pulled : {size_t{0}, size_t{1}}) {
    CAPTURE(pulled);
    Net net(2);
    for (const size_t at : {0, 0, 1, 1}) net.add_host(at);
    net.join(0, 1);
    net.join(0, 1);
    net.send(0, kBroadcast, ++net.serial);
    REQUIRE(net.settles());
    REQUIRE(net.said.size() == 2);
    net.check_in_order();
    net.pull_cable(pulled);
    net.check_in_order();  // at once
    net.clock.advance_ns(vlan::kGuard_ns);
    net.check_in_order();
    for (const size_t at : {size_t{0}, size_t{1}}) {
      CHECK(!net.guard(at).engaged());
      CHECK(net.guard(at).engagement_count() == 1);
    }

    // A loop made later, after a quiet time, is said again.
    net.clock.advance_ns(vlan::kEpisodeQuiet_ns);
    net.join(0, 1);
    net.send(0, kBroadcast, ++net.serial);
    REQUIRE(net.settles());
    CHECK(net.said.size() == 4);
    CHECK(net.guard(0).episode_count() == 2);
    net.check_in_order();
  }
}

TEST_CASE("a cable is pulled elsewhere: the others take over at once") {
  Net net(3);
  for (const size_t at : {0, 1, 2}) net.add_host(at);
  net.join(0, 1);
  net.join(1, 2);
  net.join(2, 0);
  net.send(0, kBroadcast, ++net.serial);
  REQUIRE(net.settles());
  REQUIRE(!net.said.empty());
  net.check_in_order();
  net.pull_cable(1);
  net.check_in_order();
}

TEST_CASE("a peer that has no guard is guarded against") {
  // A repeater that remembers nothing: whatever comes in goes out of all other ends.
  struct Repeater final : netstack::Sink {
    void receive(PortId ingress, std::span<netstack::Frame> burst) noexcept override {
      for (CableEnd* end : ends) {
        if (end->id() != ingress) end->send(burst);
      }
    }
    std::vector<CableEnd*> ends;
  };
  netstack::ManualClock clock;
  size_t carried = 0;
  MemoryPort host("host"), neighbour("neighbour");
  Repeater repeater;
  std::vector<std::unique_ptr<CableEnd>> ours, theirs;
  Switch bridge(clock, vlan::FdbConfig(1));
  bridge.attach(host);
  bridge.attach(neighbour);
  for (PortId id = 1; id <= 2; ++id) {
    ours.push_back(std::make_unique<CableEnd>(carried));
    theirs.push_back(std::make_unique<CableEnd>(carried));
    ours.back()->connect(*theirs.back());
    theirs.back()->connect(*ours.back());
    bridge.attach(*ours.back());
    theirs.back()->attach(repeater, id);
    repeater.ends.push_back(theirs.back().get());
  }
  host.inject(make_frame(kBroadcast, station(1)));
  const auto turn = [&] {
    for (const auto& end : ours) end->pull();
    for (const auto& end : theirs) end->pull();
    clock.advance_ns(kHop_ns);
  };
  for (int step = 0; step < kStepsMax; ++step) turn();
  CHECK(bridge.storm_guard().episode_count() == 1);
  CHECK(carried < 1000);
  host.take();
  neighbour.take();
  for (uint32_t number = 1; number <= 100; ++number) {
    host.inject(make_frame(kBroadcast, station(1), number));
    for (int step = 0; step < 20; ++step) turn();
  }
  CHECK(neighbour.received_count() == 100);
  CHECK(host.received_count() == 0);
}
