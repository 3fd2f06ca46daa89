#include "vlan/vlans.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "netstack/base/checksum.h"
#include "netstack/port/memory_port.h"
#include "vlan/switch.h"

using netstack::DropReason;
using netstack::Frame;
using netstack::kBroadcast;
using netstack::Mac;
using netstack::MemoryPort;
using netstack::PortId;
using vlan::kNoVid;

namespace {

using Bytes = std::vector<uint8_t>;
using Tags = std::vector<std::pair<uint16_t, uint16_t>>;  // {TPID, TCI}, outermost first
using Outcome = std::map<PortId, Tags>;                   // who received it, and how tagged

constexpr uint16_t kCTag = 0x8100;
constexpr uint16_t kSTag = 0x88a8;
constexpr uint16_t kPcp5 = 5U << 13U;
constexpr uint16_t kDei = 1U << 12U;
constexpr Mac kA{{0x52, 0x54, 0, 0, 0, 0x0a}};
constexpr Mac kB{{0x52, 0x54, 0, 0, 0, 0x0b}};
constexpr Mac kC{{0x52, 0x54, 0, 0, 0, 0x0c}};

Bytes make_frame(const Mac& to, const Mac& from, const Tags& tags = {}, size_t payload_size = 46) {
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
  for (size_t at = 0; at < payload_size; ++at) bytes.push_back(static_cast<uint8_t>(at * 7));
  return bytes;
}

struct Lan {
  explicit Lan(PortId port_count, uint32_t frame_bytes_max = netstack::kFrameBytesMax) {
    for (PortId id = 1; id <= port_count; ++id) {
      ports.push_back(std::make_unique<MemoryPort>("port" + std::to_string(id),
                                                   MemoryPort::Keep::kFrames, frame_bytes_max));
      REQUIRE(bridge.attach(*ports.back()) == id);
    }
  }
  MemoryPort& port(PortId id) { return *ports[id - 1]; }
  vlan::Vlans& vlans() { return bridge.vlans(); }
  void learn(PortId id, const Mac& mac, const Tags& tags = {}) {
    port(id).inject(make_frame(kBroadcast, mac, tags));
    for (auto& one : ports) one->take();
  }
  // Compares what every port received with `expected`, to the byte.
  void check_outcome(const Outcome& expected, const Mac& to, const Mac& from) {
    for (auto& one : ports) {
      CAPTURE(one->id());
      std::vector<Bytes> frames;
      if (const auto tags = expected.find(one->id()); tags != expected.end()) {
        frames.push_back(make_frame(to, from, tags->second));
      }
      CHECK(one->take() == frames);
    }
  }

  netstack::ManualClock clock;
  std::vector<std::unique_ptr<MemoryPort>> ports;
  vlan::Switch bridge{clock, vlan::FdbConfig(1)};
};

// 1, 2: access ports of VLAN 10. 3: a trunk for 10 and 20 that takes nothing untagged. 4: hybrid,
// PVID 20 and tagged 10. 5: as a port is by default. 6: hybrid, PVID 0 and tagged 20. 7: takes
// nothing at all. 8: PVID 10, a tagged member of VLAN 0.
struct MixedLan : Lan {
  MixedLan() : Lan(8) {
    for (const int vid : {10, 20, 4094}) REQUIRE(vlans().create(vid) == 0);
    for (const PortId id : {1, 2, 8}) REQUIRE(vlans().set_pvid(id, 10) == 0);
    REQUIRE(vlans().set_pvid(3, kNoVid) == 0);
    REQUIRE(vlans().set_pvid(4, 20) == 0);
    REQUIRE(vlans().set_pvid(7, kNoVid) == 0);
    for (const PortId id : {3, 4}) REQUIRE(vlans().add_tagged(10, id) == 0);
    for (const PortId id : {3, 6}) REQUIRE(vlans().add_tagged(20, id) == 0);
    REQUIRE(vlans().add_tagged(0, 8) == 0);
  }
};

}  // namespace

TEST_CASE("frames leave by the members of their VLAN, in the form each wants") {
  struct Row {
    std::string name;
    PortId in_port;
    Tags tags;
    Mac destination;
    Outcome out;
  };
  const Tags none, v10{{kCTag, 10}}, v20{{kCTag, 20}}, v0{{kCTag, 0}};
  const Tags v10_pcp{{kCTag, kPcp5 | kDei | 10}}, v20_pcp{{kCTag, kPcp5 | kDei | 20}};
  const Tags priority{{kCTag, kPcp5 | kDei}}, s7{{kSTag, kPcp5 | 7}};
  const Row rows[] = {
      // Broadcasts: who is in the VLAN?
      {"access", 1, none, kBroadcast, {{2, none}, {3, v10}, {4, v10}, {8, none}}},
      {"access, tagged with its PVID",
       1,
       v10,
       kBroadcast,
       {{2, none}, {3, v10}, {4, v10}, {8, none}}},
      {"access, foreign tag", 1, v20, kBroadcast, {}},
      {"access, VLAN that does not exist", 1, {{kCTag, 30}}, kBroadcast, {}},
      {"access, VLAN without members", 1, {{kCTag, 4094}}, kBroadcast, {}},
      {"access, reserved VID", 1, {{kCTag, 4095}}, kBroadcast, {}},
      {"trunk, VLAN 10", 3, v10, kBroadcast, {{1, none}, {2, none}, {4, v10}, {8, none}}},
      {"trunk, VLAN 20", 3, v20, kBroadcast, {{4, none}, {6, v20}}},
      {"trunk, untagged", 3, none, kBroadcast, {}},
      {"trunk, priority tag", 3, priority, kBroadcast, {}},
      {"trunk, reserved VID", 3, {{kCTag, 4095}}, kBroadcast, {}},
      {"hybrid, untagged", 4, none, kBroadcast, {{3, v20}, {6, v20}}},
      {"hybrid, tagged", 4, v10, kBroadcast, {{1, none}, {2, none}, {3, v10}, {8, none}}},
      {"hybrid, tagged with its PVID", 4, v20, kBroadcast, {{3, v20}, {6, v20}}},
      {"default port", 5, none, kBroadcast, {{6, none}, {8, v0}}},
      {"default port, tagged", 5, v10, kBroadcast, {}},
      {"default port, priority tag", 5, priority, kBroadcast, {{6, none}, {8, priority}}},
      {"hybrid on VLAN 0, untagged", 6, none, kBroadcast, {{5, none}, {8, v0}}},
      {"hybrid on VLAN 0, tagged", 6, v20, kBroadcast, {{3, v20}, {4, none}}},
      {"closed port", 7, none, kBroadcast, {}},
      {"closed port, tagged", 7, v10, kBroadcast, {}},
      {"tagged member of VLAN 0", 8, v0, kBroadcast, {{5, none}, {6, none}}},
      {"tagged member of VLAN 0, untagged",
       8,
       none,
       kBroadcast,
       {{1, none}, {2, none}, {3, v10}, {4, v10}}},
      // Priority survives as long as there is a tag to carry it.
      {"priority on a trunk",
       3,
       v10_pcp,
       kBroadcast,
       {{1, none}, {2, none}, {4, v10_pcp}, {8, none}}},
      {"a priority tag gets the PVID", 4, priority, kBroadcast, {{3, v20_pcp}, {6, v20_pcp}}},
      {"an access port's priority tag",
       1,
       priority,
       kBroadcast,
       {{2, none}, {3, v10_pcp}, {4, v10_pcp}, {8, none}}},
      // An S-TAG is payload.
      {"S-TAG, access",
       1,
       s7,
       kBroadcast,
       {{2, s7},
        {3, {{kCTag, 10}, {kSTag, kPcp5 | 7}}},
        {4, {{kCTag, 10}, {kSTag, kPcp5 | 7}}},
        {8, s7}}},
      {"S-TAG of an existing VID is no VID",
       5,
       {{kSTag, 10}},
       kBroadcast,
       {{6, {{kSTag, 10}}}, {8, {{kCTag, 0}, {kSTag, 10}}}}},
      {"S-TAG on a trunk without PVID", 3, {{kSTag, 10}}, kBroadcast, {}},
      {"S-TAG within a C-TAG",
       3,
       {{kCTag, 10}, {kSTag, 7}},
       kBroadcast,
       {{1, {{kSTag, 7}}}, {2, {{kSTag, 7}}}, {4, {{kCTag, 10}, {kSTag, 7}}}, {8, {{kSTag, 7}}}}},
      {"two C-TAGs: the outer one counts, the inner one stays",
       3,
       {{kCTag, 20}, {kCTag, 10}},
       kBroadcast,
       {{4, {{kCTag, 10}}}, {6, {{kCTag, 20}, {kCTag, 10}}}}},
      {"three tags",
       1,
       {{kSTag, 1}, {kSTag, 2}, {kCTag, 3}},
       kBroadcast,
       {{2, {{kSTag, 1}, {kSTag, 2}, {kCTag, 3}}},
        {3, {{kCTag, 10}, {kSTag, 1}, {kSTag, 2}, {kCTag, 3}}},
        {4, {{kCTag, 10}, {kSTag, 1}, {kSTag, 2}, {kCTag, 3}}},
        {8, {{kSTag, 1}, {kSTag, 2}, {kCTag, 3}}}}},
      // Unicasts: A is in VLAN 10 behind access port 2, B in VLAN 20 behind trunk 3, C in VLAN 10
      // behind trunk 3 and in VLAN 20 behind hybrid 4.
      {"access to access", 1, none, kA, {{2, none}}},
      {"trunk to access", 3, v10_pcp, kA, {{2, none}}},
      {"access to trunk", 1, none, kC, {{3, v10}}},
      {"access to trunk with priority", 1, priority, kC, {{3, v10_pcp}}},
      {"hybrid to trunk, untagged VLAN", 4, none, kB, {{3, v20}}},
      {"hybrid to trunk, tagged VLAN", 4, v10, kC, {{3, v10}}},
      {"trunk to hybrid, its PVID", 3, v20, kC, {{4, none}}},
      {"the same address, behind the ingress port in this VLAN", 3, v10, kC, {}},
      {"known in another VLAN only: floods in this one",
       1,
       none,
       kB,
       {{2, none}, {3, v10}, {4, v10}, {8, none}}},
      {"unknown", 6, v20, kA, {{3, v20}, {4, none}}},
      {"not a member, known destination", 5, v10, kA, {}},
  };
  const Mac sender{{0x52, 0x54, 0, 0, 0, 0x99}};
  for (const Row& row : rows) {
    CAPTURE(row.name);
    MixedLan lan;
    lan.learn(2, kA);
    lan.learn(3, kB, v20);
    lan.learn(3, kC, v10);
    lan.learn(4, kC);
    const Bytes frame = make_frame(row.destination, sender, row.tags);
    lan.port(row.in_port).inject(frame);
    lan.check_outcome(row.out, row.destination, sender);
  }
}

TEST_CASE("a frame of a VLAN its port is no member of is dropped, counted and not learned") {
  MixedLan lan;
  lan.port(1).inject(make_frame(kBroadcast, kA, {{kCTag, 20}}));
  lan.port(3).inject(make_frame(kBroadcast, kA));
  lan.port(7).inject(make_frame(kBroadcast, kA));
  for (const PortId id : {1, 3, 7}) {
    CHECK(lan.port(id).counters().dropped(DropReason::kVlanNotMember) == 1);
  }
  CHECK(lan.bridge.fdb().station_count() == 0);
}

TEST_CASE("a mixed burst keeps its order on every port") {
  MixedLan lan;
  std::vector<Bytes> burst, untagged, tagged;
  for (size_t n = 0; n < 150; ++n) {  // more than one scratch-full, all in VLAN 10
    const Tags tags = n % 3 == 0 ? Tags{} : Tags{{kCTag, n % 3 == 1 ? 10 : kPcp5}};
    const uint16_t tci = n % 3 == 2 ? kPcp5 | 10 : 10;
    burst.push_back(make_frame(kBroadcast, kA, tags, 46 + n));
    untagged.push_back(make_frame(kBroadcast, kA, {}, 46 + n));
    tagged.push_back(make_frame(kBroadcast, kA, {{kCTag, tci}}, 46 + n));
  }
  lan.port(1).inject(burst);
  CHECK(lan.port(2).take() == untagged);
  CHECK(lan.port(3).take() == tagged);
  CHECK(lan.port(4).take() == tagged);
}

TEST_CASE("a tag that makes a frame too long for its port drops it there and only there") {
  Lan lan(3, 1514);
  REQUIRE(lan.vlans().create(10) == 0);
  for (const PortId id : {1, 2}) REQUIRE(lan.vlans().set_pvid(id, 10) == 0);
  REQUIRE(lan.vlans().add_tagged(10, 3) == 0);
  lan.port(1).inject(make_frame(kBroadcast, kA, {}, 1500));
  CHECK(lan.port(2).received_count() == 1);
  CHECK(lan.port(3).received_count() == 0);
  CHECK(lan.port(3).counters().dropped(DropReason::kTooLong) == 1);
}

TEST_CASE("the sender's frames are left as they were") {
  MixedLan lan;
  const Bytes bytes = make_frame(kBroadcast, kA, {{kSTag, 7}});
  Frame frame;
  iovec body{};
  REQUIRE(netstack::view_frame(bytes.data(), bytes.size(), frame, body));
  const Frame before = frame;
  lan.port(1).inject(std::span(&frame, 1));
  CHECK(frame.head == before.head);
  CHECK(frame.bytes == before.bytes);
  CHECK(frame.body.data() == &body);
  CHECK(lan.port(3).received_count() == 1);
}

TEST_CASE("a body in many parts gets a tag in front of its S-TAG, up to a limit") {
  MixedLan lan;
  const Bytes whole = make_frame(kBroadcast, kA, {{kSTag, 7}}, 400);
  const auto burst_of = [&](size_t part_count, std::vector<iovec>& parts) {
    Frame frame;
    iovec body{};
    REQUIRE(netstack::view_frame(whole.data(), whole.size(), frame, body));
    auto* at = static_cast<uint8_t*>(body.iov_base);
    for (size_t n = 0; n + 1 < part_count; ++n) parts.push_back({at++, 1});
    parts.push_back({at, body.iov_len - (part_count - 1)});
    frame.body = parts;
    return std::vector<Frame>(5, frame);
  };
  const Bytes expected = make_frame(kBroadcast, kA, {{kCTag, 10}, {kSTag, 7}}, 400);
  std::vector<iovec> parts, too_many_parts;
  auto burst = burst_of(vlan::kBodyPartsMax, parts);
  lan.port(1).inject(std::span(burst));
  CHECK(lan.port(3).take() == std::vector<Bytes>(5, expected));
  burst = burst_of(vlan::kBodyPartsMax + 1, too_many_parts);
  lan.port(1).inject(std::span(burst));
  CHECK(lan.port(3).received_count() == 0);
  CHECK(lan.port(1).counters().dropped(DropReason::kLimit) == 5);
}

TEST_CASE("a checksum left to be finished moves with the tag") {
  struct Row {
    std::string name;
    PortId in_port;
    Tags tags;
    uint16_t checksum_start;
  };
  // The checksum covers the payload's last 26 bytes and goes into their bytes 6 and 7.
  const Row rows[] = {{"pushed to 3, kept by 2", 1, {}, 34},
                      {"popped for 1 and 2, kept by 4", 3, {{kCTag, 10}}, 38},
                      {"pushed in front of an S-TAG", 1, {{kSTag, 7}}, 38}};
  for (const Row& row : rows) {
    CAPTURE(row.name);
    MixedLan lan;
    Bytes bytes = make_frame(kBroadcast, kA, row.tags);
    std::vector<uint8_t> covered(bytes.end() - 26, bytes.end());
    const uint16_t sum = netstack::internet_checksum(covered);
    Frame frame;
    iovec body{};
    REQUIRE(netstack::view_frame(bytes.data(), bytes.size(), frame, body));
    frame.offload = {
        .needs_checksum = true, .checksum_start = row.checksum_start, .checksum_offset = 6};
    lan.port(row.in_port).inject(std::span(&frame, 1));
    for (const PortId id : {PortId{2}, PortId{4}}) {
      const auto received = lan.port(id).take();
      REQUIRE(received.size() == 1);
      const uint8_t* field = &*(received[0].end() - 26 + 6);
      CHECK((field[0] << 8U | field[1]) == sum);
      CHECK(std::equal(received[0].end() - 18, received[0].end(), bytes.end() - 18));
    }
  }
}

TEST_CASE("console calls answer with VDE's errors") {
  Lan lan(2);
  vlan::Vlans& vlans = lan.vlans();
  constexpr PortId kAbsent = 9, kImpossible = vlan::kFdbPortsDefault + 1;
  CHECK(vlans.create(7) == 0);
  CHECK(vlans.create(7) == EEXIST);
  for (const int vid : {-1, 0, 4095, 4096}) CHECK(vlans.create(vid) == EINVAL);
  CHECK(vlans.create(4094) == 0);
  CHECK(vlans.create(1) == 0);

  CHECK(vlans.add_tagged(7, 1) == 0);
  CHECK(vlans.add_tagged(7, 1) == 0);
  CHECK(vlans.add_tagged(0, 1) == 0);  // it is the PVID already
  CHECK(!vlans.tagged(0, 1));
  CHECK(vlans.add_tagged(7, kAbsent) == ENXIO);
  CHECK(vlans.add_tagged(7, 0) == ENXIO);
  CHECK(vlans.add_tagged(8, 1) == ENXIO);
  CHECK(vlans.add_tagged(7, kImpossible) == EINVAL);
  CHECK(vlans.add_tagged(4095, 1) == EINVAL);

  CHECK(vlans.remove_tagged(7, 2) == 0);
  CHECK(vlans.remove_tagged(0, 1) == EADDRINUSE);
  CHECK(vlans.remove_tagged(8, 1) == ENXIO);
  CHECK(vlans.remove_tagged(-1, 1) == EINVAL);
  CHECK(vlans.remove(7) == EADDRINUSE);

  CHECK(vlans.set_pvid(1, 7) == 0);  // from tagged to untagged
  CHECK(!vlans.tagged(7, 1));
  CHECK(vlans.pvid(1) == 7);
  CHECK(vlans.remove(7) == EADDRINUSE);
  CHECK(vlans.remove_tagged(7, 1) == EADDRINUSE);
  CHECK(vlans.set_pvid(1, 7) == 0);
  CHECK(vlans.set_pvid(1, 9) == ENXIO);
  CHECK(vlans.set_pvid(kAbsent, 7) == ENXIO);
  CHECK(vlans.set_pvid(kAbsent, kNoVid) == ENXIO);
  CHECK(vlans.set_pvid(kImpossible, 7) == EINVAL);
  CHECK(vlans.set_pvid(1, 4096) == EINVAL);
  CHECK(vlans.set_pvid(1, -1) == EINVAL);
  CHECK(vlans.set_pvid(1, kNoVid) == 0);
  CHECK(vlans.pvid(1) == kNoVid);
  CHECK(vlans.remove(7) == 0);
  CHECK(vlans.remove(7) == ENXIO);
  CHECK(vlans.remove(4095) == EINVAL);
  CHECK(vlans.remove(-1) == EINVAL);
}

TEST_CASE("VLAN 0 stays even when no port is in it, and takes the next one") {
  Lan lan(1);
  REQUIRE(lan.vlans().set_pvid(1, kNoVid) == 0);
  CHECK(lan.vlans().remove(0) == EADDRINUSE);
  MemoryPort late("late");
  REQUIRE(lan.bridge.attach(late) == 2);
  CHECK(lan.vlans().pvid(2) == 0);
  lan.bridge.detach(late);
}

TEST_CASE("membership can be listed") {
  MixedLan lan;
  const auto list = [](std::span<const PortId> ports) {
    return std::vector<PortId>(ports.begin(), ports.end());
  };
  std::vector<int> vids;
  lan.vlans().for_each([&vids](int vid) { vids.push_back(vid); });
  CHECK(vids == std::vector<int>{0, 10, 20, 4094});
  CHECK(list(lan.vlans().untagged_ports(10)) == std::vector<PortId>{1, 2, 8});
  CHECK(list(lan.vlans().tagged_ports(10)) == std::vector<PortId>{3, 4});
  CHECK(list(lan.vlans().untagged_ports(0)) == std::vector<PortId>{5, 6});
  CHECK(lan.vlans().tagged_ports(30).empty());
  CHECK(lan.vlans().untagged_ports(-1).empty());
  CHECK(lan.vlans().exists(4094));
  CHECK(!lan.vlans().exists(4095));
}

TEST_CASE("a switch is transparent until the first change") {
  Lan lan(3);
  const Bytes tagged = make_frame(kBroadcast, kA, {{kCTag, 42}});
  lan.port(1).inject(tagged);
  CHECK(lan.port(2).take() == std::vector<Bytes>{tagged});

  // What is refused, or asks for what is so already, changes nothing.
  vlan::Vlans& vlans = lan.vlans();
  CHECK(vlans.create(0) == EINVAL);
  CHECK(vlans.create(5000) == EINVAL);
  CHECK(vlans.remove(99) == ENXIO);
  CHECK(vlans.remove(0) == EADDRINUSE);
  CHECK(vlans.set_pvid(1, 42) == ENXIO);
  CHECK(vlans.set_pvid(1, 0) == 0);
  CHECK(vlans.add_tagged(42, 1) == ENXIO);
  CHECK(vlans.add_tagged(0, 1) == 0);
  CHECK(vlans.remove_tagged(42, 1) == ENXIO);
  CHECK(vlans.remove_tagged(0, 1) == EADDRINUSE);
  CHECK(!vlans.active());
  CHECK(lan.bridge.fdb().station_count() == 1);
  lan.port(1).inject(tagged);
  CHECK(lan.port(2).take() == std::vector<Bytes>{tagged});

  SUBCASE("begin") {
    vlans.begin();
  }
  SUBCASE("a VLAN") {
    CHECK(vlans.create(7) == 0);
  }
  SUBCASE("a PVID") {
    CHECK(vlans.set_pvid(3, kNoVid) == 0);
  }
  CHECK(vlans.active());
  CHECK(lan.bridge.fdb().station_count() == 0);  // what was learned by other rules is forgotten
  lan.port(1).inject(tagged);
  CHECK(lan.port(2).received_count() == 0);
  const Bytes plain = make_frame(kBroadcast, kA);
  lan.port(1).inject(plain);
  CHECK(lan.port(2).take() == std::vector<Bytes>{plain});
}

TEST_CASE("stations are forgotten where their port stops being a member, and only there") {
  MixedLan lan;
  lan.learn(3, kA, {{kCTag, 10}});
  lan.learn(3, kA, {{kCTag, 20}});
  lan.learn(3, kB, {{kCTag, 10}});
  lan.learn(1, kC);
  REQUIRE(lan.bridge.fdb().station_count() == 4);
  CHECK(lan.vlans().remove_tagged(10, 3) == 0);
  CHECK(lan.bridge.fdb().station_count(3) == 1);
  CHECK(lan.vlans().set_pvid(1, kNoVid) == 0);
  CHECK(lan.bridge.fdb().station_count() == 1);
  CHECK(lan.bridge.fdb().lookup(kA, 20, lan.clock.monotonic_ns()) == PortId{3});
}

TEST_CASE("a port that has left is in no VLAN; its number starts again in VLAN 0") {
  MixedLan lan;
  lan.bridge.detach(lan.port(3));
  CHECK(lan.vlans().tagged_ports(10).size() == 1);
  CHECK(lan.vlans().set_pvid(3, 10) == ENXIO);
  lan.port(1).inject(make_frame(kBroadcast, kA));
  CHECK(lan.port(3).received_count() == 0);
  MemoryPort newcomer("newcomer");
  REQUIRE(lan.bridge.attach(newcomer) == 3);
  CHECK(lan.vlans().pvid(3) == 0);
  CHECK(!lan.vlans().tagged(10, 3));
  lan.bridge.detach(newcomer);
}

TEST_CASE("a hub repeats everything to everybody, whatever the VLANs say") {
  MixedLan lan;
  lan.bridge.set_hub(true);
  CHECK(lan.bridge.hub());
  const Bytes frames[] = {make_frame(kBroadcast, kA), make_frame(kB, kA, {{kCTag, 4095}}),
                          make_frame(kA, kA, {{kSTag, 3}, {kCTag, 9}}),
                          make_frame(kB, kA, {{kCTag, 20}})};
  lan.port(2).inject(make_frame(kBroadcast, kB));
  for (auto& one : lan.ports) one->take();
  for (const Bytes& frame : frames) {
    lan.port(7).inject(frame);
    for (PortId id = 1; id <= 8; ++id) {
      CAPTURE(id);
      CHECK(lan.port(id).take() == (id == 7 ? std::vector<Bytes>{} : std::vector<Bytes>{frame}));
    }
  }
  lan.bridge.set_hub(false);
  CHECK(lan.bridge.fdb().station_count() == 0);
  lan.port(7).inject(frames[0]);
  CHECK(lan.port(1).received_count() == 0);
}
