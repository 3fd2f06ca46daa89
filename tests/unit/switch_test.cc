#include "vlan/switch.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "netstack/port/memory_port.h"

using netstack::DropReason;
using netstack::Frame;
using netstack::kBroadcast;
using netstack::Mac;
using netstack::MemoryPort;
using netstack::PortId;
using vlan::Switch;

namespace {

using Bytes = std::vector<uint8_t>;
using Tags = std::vector<std::pair<uint16_t, uint16_t>>;  // {TPID, TCI}, outermost first

constexpr uint16_t kCTag = 0x8100;
constexpr uint16_t kSTag = 0x88a8;
constexpr Mac kA{{0x52, 0x54, 0, 0, 0, 0x0a}};
constexpr Mac kB{{0x52, 0x54, 0, 0, 0, 0x0b}};
constexpr Mac kC{{0x52, 0x54, 0, 0, 0, 0x0c}};
constexpr Mac kD{{0x52, 0x54, 0, 0, 0, 0x0d}};
constexpr Mac kUnheard{{0x52, 0x54, 0, 0, 0, 0x0e}};

Bytes make_frame(const Mac& to, const Mac& from, const Tags& tags = {}, uint8_t fill = 0) {
  Bytes bytes(to.octets.begin(), to.octets.end());
  bytes.insert(bytes.end(), from.octets.begin(), from.octets.end());
  const auto append_u16 = [&bytes](uint16_t value) {
    bytes.push_back(static_cast<uint8_t>(value >> 8U));
    bytes.push_back(static_cast<uint8_t>(value));
  };
  for (const auto& [tpid, tci] : tags) {
    append_u16(tpid);
    append_u16(tci);
  }
  append_u16(0x0800);
  bytes.resize(bytes.size() + 46, fill);
  return bytes;
}

// A switch with ports 1 to `port_count`.
struct Lan {
  explicit Lan(PortId port_count) {
    for (PortId id = 1; id <= port_count; ++id) {
      ports.push_back(std::make_unique<MemoryPort>("port" + std::to_string(id)));
      REQUIRE(bridge.attach(*ports.back()) == id);
    }
  }
  MemoryPort& port(PortId id) { return *ports[id - 1]; }
  void learn(PortId id, const Mac& mac, const Tags& tags = {}) {
    port(id).inject(make_frame(kBroadcast, mac, tags));
    clear();
  }
  void clear() {
    for (auto& one : ports) one->take();
  }
  // The ports that received exactly `frame`; any other frame received is a failure.
  std::vector<PortId> receivers_of(const Bytes& frame) {
    std::vector<PortId> ids;
    for (auto& one : ports) {
      const auto received = one->take();
      if (received.empty()) continue;
      CHECK(received == std::vector<Bytes>{frame});
      ids.push_back(one->id());
    }
    return ids;
  }

  netstack::ManualClock clock;
  std::vector<std::unique_ptr<MemoryPort>> ports;
  Switch bridge{clock, vlan::FdbConfig(1)};
};

struct RecordingMirror final : netstack::Mirror {
  void observe(const netstack::Port& ingress, std::span<const Frame> burst) noexcept override {
    ++call_count;
    for (const Frame& frame : burst) {
      Bytes bytes(frame.bytes);
      netstack::copy_frame(frame, bytes.data());
      frames.emplace_back(ingress.id(), std::move(bytes));
      if (witness != nullptr) witness_received_count = witness->received_count();
    }
  }
  std::vector<std::pair<PortId, Bytes>> frames;
  size_t call_count = 0;
  const MemoryPort* witness = nullptr;
  size_t witness_received_count = 0;
};

// True when `action` ends its process by abort().
template <class Action>
bool aborts(Action&& action) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    const rlimit core_size{0, 0};
    ::setrlimit(RLIMIT_CORE, &core_size);
    ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    action();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

// Does something of its own when it is sent a frame.
class ReactingPort final : public netstack::Port {
 public:
  explicit ReactingPort(void (*react)(Switch&, ReactingPort&), Switch& bridge)
      : Port("reacting", netstack::kFrameBytesMax), react_(react), bridge_(bridge) {}
  using Port::deliver;

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override {
    react_(bridge_, *this);
    return burst.size();
  }

 private:
  void (*react_)(Switch&, ReactingPort&);
  Switch& bridge_;
};

}  // namespace

TEST_CASE("tags pass bit-exact, nothing is filtered, learning is per outer VID") {
  struct Row {
    std::string name;
    PortId in_port;
    Tags tags;
    Mac destination;
    std::vector<PortId> out_ports;
  };
  // Port 1 has A; port 2 has B, heard untagged; port 3 has C, heard in VID 42; port 4 listens.
  const Row rows[] = {
      {"untagged to untagged", 1, {}, kB, {2}},
      {"priority tag counts as untagged", 1, {{kCTag, 0xa000}}, kB, {2}},
      {"priority tag with DEI", 1, {{kCTag, 0x1000}}, kB, {2}},
      {"service priority tag", 1, {{kSTag, 0xe000}}, kB, {2}},
      {"B is not known in VID 42", 1, {{kCTag, 42}}, kB, {2, 3, 4}},
      {"C is known in VID 42", 1, {{kCTag, 42}}, kC, {3}},
      {"PCP and DEI do not matter", 1, {{kCTag, 0xf000 | 42}}, kC, {3}},
      {"C is not known without a tag", 1, {}, kC, {2, 3, 4}},
      {"S-TAG 42", 1, {{kSTag, 42}}, kC, {3}},
      {"QinQ: the outer VID decides", 1, {{kSTag, 42}, {kCTag, 7}}, kC, {3}},
      {"QinQ: the inner VID does not", 1, {{kSTag, 7}, {kCTag, 42}}, kC, {2, 3, 4}},
      {"two C-TAGs", 1, {{kCTag, 42}, {kCTag, 42}}, kC, {3}},
      {"three tags", 1, {{kSTag, 42}, {kSTag, 43}, {kCTag, 44}}, kC, {3}},
      {"VID 1", 1, {{kCTag, 1}}, kB, {2, 3, 4}},
      {"VID 4094", 1, {{kCTag, 4094}}, kB, {2, 3, 4}},
      {"VID 4095", 1, {{kCTag, 4095}}, kB, {2, 3, 4}},
      {"tagged broadcast", 2, {{kCTag, 42}}, kBroadcast, {1, 3, 4}},
      {"unknown unicast", 4, {}, kUnheard, {1, 2, 3}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Lan lan(4);
    lan.learn(1, kA);
    lan.learn(2, kB);
    lan.learn(3, kC, {{kCTag, 42}});
    const Bytes frame = make_frame(row.destination, kD, row.tags, 0x5a);
    lan.port(row.in_port).inject(frame);
    CHECK(lan.receivers_of(frame) == row.out_ports);
  }
}

TEST_CASE("link-local groups flood like any other group") {
  Lan lan(3);
  for (unsigned last = 0; last < 16; ++last) {
    const Mac group{{0x01, 0x80, 0xc2, 0, 0, static_cast<uint8_t>(last)}};
    const Bytes frame = make_frame(group, kA);
    lan.port(2).inject(frame);
    CHECK(lan.receivers_of(frame) == std::vector<PortId>{1, 3});
  }
  CHECK(lan.bridge.fdb().station_count() == 1);
}

TEST_CASE("a frame for a station behind its own ingress port is dropped as hairpin") {
  Lan lan(3);
  lan.learn(1, kA);
  lan.learn(1, kB);
  lan.port(1).inject(make_frame(kB, kA));
  lan.port(1).inject(make_frame(kA, kA));  // to itself
  for (PortId id = 1; id <= 3; ++id) CHECK(lan.port(id).received_count() == 0);
  CHECK(lan.port(1).counters().dropped(DropReason::kHairpin) == 2);
  CHECK(lan.port(1).counters().dropped() == 2);
}

TEST_CASE("a frame from a group address passes and is not learned") {
  for (const bool hub : {false, true}) {
    Lan lan(3);
    lan.bridge.set_hub(hub);
    const Mac group{{0x03, 0, 0, 0, 0, 1}};
    const std::vector<Bytes> frames{make_frame(kB, group), make_frame(kBroadcast, kBroadcast)};
    lan.port(1).inject(frames);
    CHECK(lan.port(2).take() == frames);
    CHECK(lan.port(3).take() == frames);
    CHECK(lan.bridge.fdb().station_count() == 0);
    lan.port(2).inject(make_frame(group, kB));
    CHECK(lan.port(1).received_count() == 1);
    CHECK(lan.port(3).received_count() == 1);
  }
}

TEST_CASE("a hub sends nothing to the management port, a switch does") {
  for (const bool hub : {false, true}) {
    Lan lan(2);
    MemoryPort management("management");
    REQUIRE(lan.bridge.attach_at(0, management));
    lan.bridge.set_hub(hub);
    management.inject(make_frame(kBroadcast, kC));
    lan.port(1).inject(std::vector<Bytes>{make_frame(kBroadcast, kA), make_frame(kC, kA)});
    CHECK(management.received_count() == (hub ? 0 : 2));
    CHECK(lan.port(1).received_count() == 1);
    CHECK(lan.port(2).received_count() == (hub ? 3 : 2));
    lan.bridge.detach(management);
  }
}

TEST_CASE("frames with the same decision share one transmit call") {
  Lan lan(4);
  lan.learn(2, kB);
  lan.learn(3, kC);
  const size_t before_b = lan.port(2).transmit_call_count();
  const size_t before_c = lan.port(3).transmit_call_count();
  const size_t before_other = lan.port(4).transmit_call_count();

  SUBCASE("one destination, one call") {
    const std::vector<Bytes> burst(64, make_frame(kB, kA));
    lan.port(1).inject(burst);
    CHECK(lan.port(2).transmit_call_count() - before_b == 1);
    CHECK(lan.port(2).take() == burst);
  }
  SUBCASE("different senders, one destination, one call") {
    const std::vector<Bytes> burst = {make_frame(kB, kA), make_frame(kB, kD), make_frame(kB, kA)};
    lan.port(1).inject(burst);
    CHECK(lan.port(2).transmit_call_count() - before_b == 1);
    CHECK(lan.port(2).take() == burst);
  }
  SUBCASE("a change of destination starts a run") {
    const Bytes to_b = make_frame(kB, kA), to_c = make_frame(kC, kA);
    lan.port(1).inject(std::vector<Bytes>{to_b, to_b, to_c, to_c, to_c, to_b});
    CHECK(lan.port(2).transmit_call_count() - before_b == 2);
    CHECK(lan.port(3).transmit_call_count() - before_c == 1);
    CHECK(lan.port(4).transmit_call_count() - before_other == 0);
    CHECK(lan.port(2).take() == std::vector<Bytes>(3, to_b));
    CHECK(lan.port(3).take() == std::vector<Bytes>(3, to_c));
  }
  SUBCASE("a flood run is one call on each port") {
    const std::vector<Bytes> burst = {make_frame(kBroadcast, kA), make_frame(kD, kA),
                                      make_frame(Mac{{0x33, 0x33, 0, 0, 0, 1}}, kA)};
    lan.port(1).inject(burst);
    CHECK(lan.port(2).transmit_call_count() - before_b == 1);
    CHECK(lan.port(4).transmit_call_count() - before_other == 1);
    CHECK(lan.port(4).take() == burst);
  }
  SUBCASE("a dropped frame between two equal ones splits the run and is counted") {
    const Bytes to_b = make_frame(kB, kA);
    lan.port(1).inject(std::vector<Bytes>{to_b, make_frame(kA, kA), make_frame(kA, kA), to_b});
    CHECK(lan.port(2).transmit_call_count() - before_b == 2);
    CHECK(lan.port(1).counters().dropped(DropReason::kHairpin) == 2);
  }
}

TEST_CASE("learning takes effect inside a burst") {
  Lan lan(3);
  lan.learn(2, kB);
  // B is heard behind port 1 in the second frame: the third is a hairpin.
  lan.port(1).inject(
      std::vector<Bytes>{make_frame(kB, kA), make_frame(kBroadcast, kB), make_frame(kB, kA)});
  CHECK(lan.port(2).received_count() == 2);
  CHECK(lan.port(1).counters().dropped(DropReason::kHairpin) == 1);
  const Bytes back = make_frame(kB, kC);
  lan.clear();
  lan.port(3).inject(back);
  CHECK(lan.receivers_of(back) == std::vector<PortId>{1});
}

TEST_CASE("a silent station's frames flood again after the aging time") {
  Lan lan(3);
  lan.learn(2, kB);
  const Bytes frame = make_frame(kB, kA);
  lan.clock.advance_ns(vlan::kAgingDefault_ns - 1);
  lan.port(1).inject(frame);
  CHECK(lan.receivers_of(frame) == std::vector<PortId>{2});
  lan.clock.advance_ns(1);
  lan.port(1).inject(frame);
  CHECK(lan.receivers_of(frame) == std::vector<PortId>{2, 3});
}

TEST_CASE("a mirror sees each frame once, before it is forwarded, dropped ones too") {
  Lan lan(3);
  RecordingMirror mirror;
  mirror.witness = &lan.port(2);
  lan.bridge.mirror_to(&mirror);
  const std::vector<Bytes> burst = {make_frame(kBroadcast, kA), make_frame(kA, kA),
                                    make_frame(kB, kBroadcast), make_frame(kB, kA)};
  lan.port(1).inject(burst);
  CHECK(mirror.call_count == 1);
  CHECK(mirror.witness_received_count == 0);
  REQUIRE(mirror.frames.size() == burst.size());
  for (size_t at = 0; at < burst.size(); ++at) {
    CHECK(mirror.frames[at].first == 1);
    CHECK(mirror.frames[at].second == burst[at]);
  }
  CHECK(lan.port(2).received_count() == 3);
  lan.bridge.mirror_to(nullptr);
  lan.port(1).inject(burst);
  CHECK(mirror.call_count == 1);
}

TEST_CASE("every frame is accounted for") {
  Lan lan(3);
  lan.learn(2, kB);
  lan.port(2).set_capacity_frames(3);
  const Bytes to_b = make_frame(kB, kA);
  lan.port(1).inject(std::vector<Bytes>{to_b, to_b, make_frame(kA, kA), Bytes(13, 0), to_b, to_b,
                                        make_frame(kBroadcast, kBroadcast), to_b});
  const auto& in = lan.port(1).counters();
  const auto& out = lan.port(2).counters();
  CHECK(in.ingress_frames == 7);
  CHECK(in.ingress_bytes == 7 * to_b.size());
  CHECK(in.dropped(DropReason::kRunt) == 1);
  CHECK(in.dropped(DropReason::kHairpin) == 1);
  CHECK(out.egress_frames == 3);
  CHECK(out.egress_bytes == 3 * to_b.size());
  CHECK(out.dropped(DropReason::kQueueFull) == 3);
  CHECK(lan.port(3).counters().egress_frames == 2);  // B's announcement and the broadcast

  lan.port(2).take();  // makes room again
  lan.port(1).inject(to_b);
  CHECK(lan.port(2).take() == std::vector<Bytes>{to_b});
}

TEST_CASE("ids are the lowest free, and a port that leaves is forgotten") {
  Lan lan(4);
  lan.learn(2, kB);
  lan.learn(3, kC);
  MemoryPort& left = lan.port(2);
  lan.bridge.detach(left);
  CHECK(lan.bridge.fdb().station_count() == 1);
  left.inject(make_frame(kBroadcast, kB));  // to nobody

  const Bytes frame = make_frame(kB, kA);
  lan.port(1).inject(frame);
  CHECK(left.received_count() == 0);
  CHECK(lan.receivers_of(frame) == std::vector<PortId>{3, 4});

  MemoryPort newcomer("newcomer");
  CHECK(lan.bridge.attach(newcomer) == 2);
  lan.port(1).inject(frame);
  CHECK(newcomer.take() == std::vector<Bytes>{frame});
  CHECK(lan.bridge.attach(left) == 5);
  lan.bridge.detach(newcomer);
}

TEST_CASE("a port may be attached where its user wants it, or not at all") {
  netstack::ManualClock clock;
  vlan::FdbConfig config(1);
  config.port_count_max = 9;
  MemoryPort zero("zero"), one("one"), five("five"), nine("nine"), other("other");
  Switch bridge(clock, config);
  CHECK(bridge.attach_at(5, five));
  CHECK(bridge.attach_at(9, nine));
  CHECK(bridge.attach_at(0, zero));
  CHECK(!bridge.attach_at(5, other));
  CHECK(!bridge.attach_at(0, other));
  CHECK(!bridge.attach_at(10, other));
  CHECK(bridge.attach(one) == 1);
  CHECK(five.id() == 5);
  CHECK(bridge.port(5) == &five);
  CHECK(bridge.port(2) == nullptr);
  CHECK(bridge.port(10) == nullptr);
  std::vector<PortId> ids;
  bridge.for_each_port([&ids](netstack::Port& port) { ids.push_back(port.id()); });
  CHECK(ids == std::vector<PortId>{0, 1, 5, 9});

  // Port 0 is a port like any other.
  const Bytes from_zero = make_frame(kBroadcast, kA), to_zero = make_frame(kA, kB);
  zero.inject(from_zero);
  for (MemoryPort* port : {&one, &five, &nine})
    CHECK(port->take() == std::vector<Bytes>{from_zero});
  nine.inject(to_zero);
  CHECK(zero.take() == std::vector<Bytes>{to_zero});
  CHECK(five.received_count() == 0);

  // It does not count towards the limit.
  std::vector<std::unique_ptr<MemoryPort>> rest;
  for (const PortId id : {2, 3, 4, 6, 7, 8}) {
    CHECK(!bridge.full());
    rest.push_back(std::make_unique<MemoryPort>("rest"));
    CHECK(bridge.attach(*rest.back()) == id);
  }
  CHECK(bridge.full());
  for (auto& port : rest) bridge.detach(*port);
}

TEST_CASE("a hub sends everything to everybody, and forgets what it knew on becoming one") {
  Lan lan(3);
  lan.learn(2, kB);
  lan.bridge.set_hub(true);
  CHECK(lan.bridge.fdb().station_count() == 0);
  lan.learn(2, kB);
  for (const Mac& destination : {kB, kA, kUnheard, kBroadcast}) {
    const Bytes frame = make_frame(destination, kA, {{kCTag, 42}});
    lan.port(1).inject(frame);
    CHECK(lan.receivers_of(frame) == std::vector<PortId>{2, 3});
  }
  lan.bridge.set_hub(true);  // no change: nothing is forgotten
  CHECK(lan.bridge.fdb().station_count() > 0);
  lan.bridge.set_hub(false);
  CHECK(lan.bridge.fdb().station_count() == 0);
}

TEST_CASE("the switch is full at its port limit") {
  netstack::ManualClock clock;
  vlan::FdbConfig config(1);
  config.port_count_max = 2;
  MemoryPort one("one"), two("two"), three("three");
  Switch bridge(clock, config);
  bridge.attach(one);
  CHECK(!bridge.full());
  bridge.attach(two);
  CHECK(bridge.full());
  CHECK(aborts([&] { bridge.attach(three); }));
  bridge.detach(one);
  CHECK(!bridge.full());
  CHECK(bridge.attach(three) == 1);
}

TEST_CASE("changes from inside a burst are bugs and abort") {
  netstack::ManualClock clock;
  MemoryPort source("source");
  Switch bridge(clock, vlan::FdbConfig(1));
  bridge.attach(source);
  using React = void (*)(Switch&, ReactingPort&);
  const auto react_with = [&](React react) {
    return aborts([&] {
      ReactingPort port(react, bridge);
      bridge.attach(port);
      source.inject(make_frame(kBroadcast, kA));
    });
  };
  CHECK(react_with([](Switch& at, ReactingPort& port) { at.detach(port); }));
  CHECK(react_with([](Switch& at, ReactingPort&) {
    MemoryPort late("late");
    at.attach(late);
  }));
  CHECK(react_with([](Switch&, ReactingPort& port) {
    const Bytes bytes = make_frame(kBroadcast, kB);
    Frame frame;
    iovec body{};
    netstack::view_frame(bytes.data(), bytes.size(), frame, body);
    port.deliver({&frame, 1});
  }));
  CHECK(react_with([](Switch& at, ReactingPort&) { at.mirror_to(nullptr); }));
  CHECK(react_with([](Switch& at, ReactingPort&) { at.set_hub(true); }));
  CHECK(react_with([](Switch& at, ReactingPort&) {
    MemoryPort late("late");
    at.attach_at(7, late);
  }));
  CHECK(!react_with([](Switch&, ReactingPort&) {}));
}
