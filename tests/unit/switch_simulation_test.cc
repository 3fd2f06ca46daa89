// Drives the switch through random lives of a LAN (transparent, with VLANs, as a hub) and compares
// what every port receives with a reference switch written another way. A failure prints its seed;
// LANYARD_SEED=N runs that one alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "netstack/port/memory_port.h"
#include "vlan/switch.h"

using netstack::DropReason;
using netstack::Mac;
using netstack::MemoryPort;
using netstack::PortId;

// --- allocations are counted in the whole program ------------------------------------------------

namespace {
uint64_t allocation_count = 0;

void* allocate(size_t size, size_t alignment) {
  ++allocation_count;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Out of line, or g++ sees free() take what operator new gave and calls it a mismatch.
[[gnu::noinline]] void release(void* memory) {
  std::free(memory);
}
}  // namespace

void* operator new(size_t size) {
  return allocate(std::max<size_t>(size, 1), alignof(std::max_align_t));
}
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(std::max<size_t>(size, 1), static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kAging_ns = 300 * netstack::kSecond_ns;
constexpr uint64_t kSeedCount = 400;
constexpr int kStepsPerSeed = 60;
constexpr size_t kSerialAt_bytes = 26;  // behind two tags and the ethertype
constexpr std::array<uint8_t, 4> kSerialMark{0x5e, 0x41, 0xa1, 0x1d};  // a tag may come or go
constexpr int kNone = 4095;

// --- the reference -----------------------------------------------------------------------------

// What a switch is, in the fewest words: no runs, no lists, no limits, frames as bytes.
class ReferenceSwitch {
 public:
  std::map<PortId, std::vector<Bytes>> out;
  std::map<PortId, std::map<DropReason, uint64_t>> drops;
  uint64_t forwarded_count = 0;
  uint64_t flooded_count = 0;
  uint64_t retagged_count = 0;

  bool hub = false;
  bool vlans = false;
  std::set<int> vids{0};
  std::map<PortId, int> pvid;  // of every port
  std::set<std::pair<int, PortId>> tagged;

  void join(PortId id) { pvid[id] = 0; }
  void leave(PortId id) {
    pvid.erase(id);
    std::erase_if(tagged, [id](const auto& one) { return one.second == id; });
    std::erase_if(known_, [id](const auto& one) { return one.second.first == id; });
  }
  void forget(PortId id, int vid) {
    std::erase_if(
        known_, [&](const auto& one) { return one.second.first == id && one.first.second == vid; });
  }
  void forget_all() { known_.clear(); }
  bool member(PortId id, int vid) const { return pvid.at(id) == vid || tagged.contains({vid, id}); }
  void receive(PortId ingress, const Bytes& bytes, uint64_t now_ns) {
    const size_t type = type_of(bytes);
    const bool has_tag = type == 0x8100 || type == 0x88a8;
    if (bytes.size() < (has_tag ? 18 : 14)) return drop(ingress, DropReason::kRunt);
    int vid = has_tag ? bytes[14] % 16 * 256 + bytes[15] : 0;
    const std::string to(bytes.begin(), bytes.begin() + 6);
    const std::string from(bytes.begin() + 6, bytes.begin() + 12);
    if (vlans && !hub) {
      const bool asks = type == 0x8100 && (vid != 0 || tagged.contains({0, ingress}));
      if (!asks) vid = pvid[ingress];
      if (vid == kNone || !member(ingress, vid)) return drop(ingress, DropReason::kVlanNotMember);
    }
    if (from[0] % 2 == 0) known_[{from, vid}] = {ingress, now_ns};
    const auto found = known_.find({to, vid});
    if (!hub && found != known_.end() && found->second.second + kAging_ns > now_ns) {
      const PortId egress = found->second.first;
      if (egress == ingress) return drop(ingress, DropReason::kHairpin);
      send(egress, bytes, vid);
      ++forwarded_count;
    } else {
      ++flooded_count;
      for (const auto& [id, unused] : pvid) {
        if (id != ingress && !(hub && id == 0)) send(id, bytes, vid);
      }
    }
  }

 private:
  static size_t type_of(const Bytes& bytes) {
    return bytes.size() < 14 ? 0 : bytes[12] * 256U + bytes[13];
  }
  void drop(PortId ingress, DropReason reason) { ++drops[ingress][reason]; }
  void send(PortId egress, Bytes bytes, int vid) {
    if (vlans && !hub) {
      if (!member(egress, vid)) return;
      const Bytes before = bytes;
      const bool has_tag = type_of(bytes) == 0x8100;
      if (pvid[egress] == vid) {
        if (has_tag) bytes.erase(bytes.begin() + 12, bytes.begin() + 16);
      } else {
        if (!has_tag) bytes.insert(bytes.begin() + 12, {0x81, 0x00, 0x00, 0x00});
        bytes[14] = static_cast<uint8_t>(bytes[14] / 16 * 16 + vid / 256);
        bytes[15] = static_cast<uint8_t>(vid);
      }
      if (bytes != before) ++retagged_count;
    }
    out[egress].push_back(std::move(bytes));
  }

  std::map<std::pair<std::string, int>, std::pair<PortId, uint64_t>> known_;
};

// What the whole run exercised, so that a simulation that no longer does is noticed.
struct Tally {
  uint64_t forwarded_count = 0;
  uint64_t flooded_count = 0;
  uint64_t retagged_count = 0;
  std::map<DropReason, uint64_t> drops;
};

enum class Kind : uint8_t { kTransparent, kVlans, kSometimesHub };

// --- the world -----------------------------------------------------------------------------------

struct Member {
  Member(std::string name, uint32_t frame_bytes_limit, size_t capacity)
      : port(std::move(name), MemoryPort::Keep::kFrames, frame_bytes_limit),
        frame_bytes_max(frame_bytes_limit),
        capacity_frames(capacity) {
    port.set_capacity_frames(capacity);
    port.reserve(256, 256U * 2048U);
  }
  MemoryPort port;
  uint32_t frame_bytes_max;
  size_t capacity_frames;
  std::map<DropReason, uint64_t> drops;  // expected since it was made
  uint64_t egress_count = 0;
};

struct CountingMirror final : netstack::Mirror {
  void observe(const netstack::Port&, std::span<const netstack::Frame> burst) noexcept override {
    frame_count += burst.size();
  }
  uint64_t frame_count = 0;
};

class World {
 public:
  World(uint64_t seed, Tally& tally)
      : kind_(static_cast<Kind>(seed % 3)),
        random_(seed),
        tally_(tally),
        bridge_(clock_, vlan::FdbConfig(random_())) {
    bridge_.mirror_to(&mirror_);
    station_count_ = 2 + pick(30);
    vid_count_ = 1 + pick(4);
    for (uint64_t left = 2 + pick(6); left > 0; --left) join();
  }
  void run() {
    for (int step = 0; step < kStepsPerSeed; ++step) {
      const uint64_t dice = pick(100);
      if (dice < 4) {
        join();
      } else if (dice < 8) {
        leave();
      } else if (dice < 18) {
        clock_.advance_ns(pick(4) == 0 ? pick(2 * kAging_ns) : pick(netstack::kSecond_ns));
      } else if (dice < 24 && kind_ == Kind::kSometimesHub) {
        toggle_hub();
      } else if (dice < 35 && kind_ == Kind::kVlans) {
        change_vlans();
      } else if (!members_.empty()) {
        exchange();
      }
    }
    tally_.forwarded_count += reference_.forwarded_count;
    tally_.flooded_count += reference_.flooded_count;
    tally_.retagged_count += reference_.retagged_count;
    CHECK(bridge_.storm_guard().engagement_count() == 0);
    while (!members_.empty()) leave();
    CHECK(bridge_.fdb().station_count() == 0);
  }

 private:
  uint64_t pick(uint64_t below) { return random_() % below; }

  void join() {
    const uint32_t longest = pick(4) == 0 ? 1522 : netstack::kFrameBytesMax;
    const size_t capacity = pick(5) == 0 ? pick(20) : MemoryPort::kUnlimited;
    auto member = std::make_unique<Member>("member", longest, capacity);
    PortId lowest = 1;
    while (members_.contains(lowest)) ++lowest;
    REQUIRE(bridge_.attach(member->port) == lowest);
    reference_.join(lowest);
    members_[lowest] = std::move(member);
  }
  void leave() {
    if (members_.empty()) return;
    const auto leaver = std::next(members_.begin(), static_cast<long>(pick(members_.size())));
    bridge_.detach(leaver->second->port);
    reference_.leave(leaver->first);
    members_.erase(leaver);
  }

  void toggle_hub() {
    reference_.hub = !reference_.hub;
    reference_.forget_all();
    bridge_.set_hub(reference_.hub);
  }
  // One console command, which may well be impossible, or ask for what is so already. The first
  // one that does something ends transparency.
  void change_vlans() {
    const auto state = [this] {
      return std::tuple(reference_.vids, reference_.pvid, reference_.tagged);
    };
    const auto before = state();
    try_to_change_vlans();
    if (reference_.vlans || state() == before) return;
    reference_.vlans = true;
    reference_.forget_all();
  }
  void try_to_change_vlans() {
    const int vid = static_cast<int>(pick(4) * 21);
    const PortId id = 1 + static_cast<PortId>(pick(8));
    const bool exists = reference_.vids.contains(vid);
    const bool possible = exists && members_.contains(id);
    vlan::Vlans& vlans = bridge_.vlans();
    switch (pick(6)) {
      case 0:
        REQUIRE((vlans.create(vid) == 0) == !exists);
        reference_.vids.insert(vid);
        return;
      case 1: {
        const bool used = std::ranges::any_of(
            members_, [&](const auto& one) { return reference_.member(one.first, vid); });
        const bool goes = exists && vid != 0 && !used;
        REQUIRE((vlans.remove(vid) == 0) == goes);
        if (goes) reference_.vids.erase(vid);
        return;
      }
      case 2:
        REQUIRE((vlans.set_pvid(id, kNone) == 0) == members_.contains(id));
        if (members_.contains(id)) change_pvid(id, kNone);
        return;
      case 3:
        REQUIRE((vlans.set_pvid(id, vid) == 0) == possible);
        if (possible) change_pvid(id, vid);
        return;
      case 4:
        REQUIRE((vlans.add_tagged(vid, id) == 0) == possible);
        if (possible && reference_.pvid[id] != vid) reference_.tagged.insert({vid, id});
        return;
      default: {
        const bool goes = possible && reference_.pvid[id] != vid;
        REQUIRE((vlans.remove_tagged(vid, id) == 0) == goes);
        if (!goes) return;
        if (reference_.tagged.erase({vid, id}) != 0) reference_.forget(id, vid);
      }
    }
  }
  void change_pvid(PortId id, int vid) {
    if (reference_.pvid[id] == vid) return;
    reference_.forget(id, reference_.pvid[id]);
    reference_.pvid[id] = vid;
    reference_.tagged.erase({vid, id});
  }

  Mac random_mac() { return {{0x52, 0x54, 0, 0, 0, static_cast<uint8_t>(pick(station_count_))}}; }
  Mac random_destination() {
    const uint64_t dice = pick(20);
    if (dice == 0) return netstack::kBroadcast;
    if (dice == 1) return {{0x01, 0x80, 0xc2, 0, 0, static_cast<uint8_t>(pick(16))}};
    if (dice == 2) return {{0x33, 0x33, 0, 0, 0, static_cast<uint8_t>(pick(256))}};
    if (dice == 3) return {{0x02, 0xff, 0, 0, 0, static_cast<uint8_t>(pick(256))}};  // unheard of
    return random_mac();
  }
  void append_tag(Bytes& bytes) {
    const auto tpid = uint16_t{pick(3) == 0 ? uint16_t{0x88a8} : uint16_t{0x8100}};
    const auto tci = static_cast<uint16_t>(pick(16) << 12U | pick(vid_count_) * 21);
    for (const uint16_t half : {tpid, tci}) {
      bytes.push_back(static_cast<uint8_t>(half >> 8U));
      bytes.push_back(static_cast<uint8_t>(half));
    }
  }
  // Every frame carries a serial number of its own behind its head, unless it is a runt.
  Bytes random_frame(const Mac& to, const Mac& from) {
    Bytes bytes(to.octets.begin(), to.octets.end());
    bytes.insert(bytes.end(), from.octets.begin(), from.octets.end());
    for (uint64_t tags = pick(3); tags > 0; --tags) append_tag(bytes);
    if (pick(60) == 0) {
      bytes.resize(std::min<size_t>(bytes.size(), pick(18)));
      if (bytes.size() < 18) return bytes;
    }
    bytes.push_back(0x08);
    bytes.push_back(0x00);
    bytes.resize(std::max<size_t>(bytes.size(), kSerialAt_bytes), 0xee);
    bytes.resize(kSerialAt_bytes);
    bytes.insert(bytes.end(), kSerialMark.begin(), kSerialMark.end());
    const uint64_t serial = ++serial_;
    for (unsigned shift = 0; shift < 64; shift += 8) {
      bytes.push_back(static_cast<uint8_t>(serial >> shift));
    }
    bytes.resize(bytes.size() + pick(pick(8) == 0 ? 1800 : 80), static_cast<uint8_t>(serial));
    return bytes;
  }
  static std::optional<uint64_t> serial_of(const Bytes& bytes) {
    const auto mark =
        std::search(bytes.begin(), bytes.end(), kSerialMark.begin(), kSerialMark.end());
    if (mark == bytes.end()) return std::nullopt;
    uint64_t serial = 0;
    for (unsigned at = 0; at < 8; ++at) {
      serial |= uint64_t{mark[static_cast<long>(kSerialMark.size() + at)]} << (8 * at);
    }
    return serial;
  }
  // Trains of frames between the same two, as real traffic has them, and single ones.
  std::vector<Bytes> random_burst() {
    std::vector<Bytes> burst;
    const size_t size = 1 + pick(pick(3) == 0 ? 100 : 12);
    while (burst.size() < size) {
      Mac from = random_mac();
      if (pick(40) == 0) from.octets[0] |= 1U;
      Mac to = random_destination();
      for (uint64_t train = 1 + pick(4); train > 0; --train) {
        burst.push_back(random_frame(to, from));
        if (pick(4) == 0) to = random_destination();
      }
    }
    return burst;
  }

  // One member sends a burst; what every member receives is compared.
  void exchange() {
    const auto sender = std::next(members_.begin(), static_cast<long>(pick(members_.size())));
    const uint64_t serial_before = serial_;
    const std::vector<Bytes> burst = random_burst();
    const uint64_t mirrored_before = mirror_.frame_count;
    const uint64_t allocations_before = allocation_count;
    sender->second->port.inject(burst);
    REQUIRE(allocation_count == allocations_before);

    reference_.out.clear();
    reference_.drops.clear();
    for (const Bytes& frame : burst) {
      reference_.receive(sender->first, frame, clock_.monotonic_ns());
    }
    auto& drops = reference_.drops[sender->first];
    for (const auto& [reason, count] : drops) {
      sender->second->drops[reason] += count;
      tally_.drops[reason] += count;
    }
    REQUIRE(mirror_.frame_count - mirrored_before == burst.size() - drops[DropReason::kRunt]);
    for (auto& [id, member] : members_) {
      const auto received = member->port.take();
      if (id == sender->first) REQUIRE(received.empty());  // never out of the ingress port
      compare(*member, reference_.out[id], received);
      check_order(received, serial_before);
    }
  }

  // Exactly the expected frames, bytes equal, less what the port itself must drop and count.
  void compare(Member& member, const std::vector<Bytes>& sent, const std::vector<Bytes>& received) {
    std::vector<Bytes> expected;
    for (const Bytes& frame : sent) {
      if (frame.size() > member.frame_bytes_max) {
        ++member.drops[DropReason::kTooLong];
        ++tally_.drops[DropReason::kTooLong];
      } else if (expected.size() == member.capacity_frames) {
        ++member.drops[DropReason::kQueueFull];
        ++tally_.drops[DropReason::kQueueFull];
      } else {
        expected.push_back(frame);
      }
    }
    REQUIRE(received == expected);
    uint64_t dropped = 0;
    for (const auto& [reason, count] : member.drops) {
      REQUIRE(member.port.counters().dropped(reason) == count);
      dropped += count;
    }
    REQUIRE(member.port.counters().dropped() == dropped);
    member.egress_count += expected.size();
    REQUIRE(member.port.counters().egress_frames == member.egress_count);
  }

  // Without the reference's help: serial numbers rise, so order is kept and nothing comes twice,
  // and all are of this burst.
  void check_order(const std::vector<Bytes>& received, uint64_t serial_before) const {
    uint64_t last = serial_before;
    for (const Bytes& frame : received) {
      const auto serial = serial_of(frame);
      if (!serial) continue;
      REQUIRE(*serial > last);
      last = *serial;
    }
    REQUIRE(last <= serial_);
  }

  Kind kind_;
  std::mt19937_64 random_;
  Tally& tally_;
  netstack::ManualClock clock_;
  CountingMirror mirror_;
  uint64_t station_count_ = 0;
  uint64_t vid_count_ = 0;
  uint64_t serial_ = 0;
  ReferenceSwitch reference_;
  std::map<PortId, std::unique_ptr<Member>> members_;
  vlan::Switch bridge_;
};

}  // namespace

TEST_CASE("the switch agrees with the reference switch") {
  Tally tally;
  if (const char* chosen = std::getenv("LANYARD_SEED")) {
    const uint64_t seed = std::strtoull(chosen, nullptr, 10);
    CAPTURE(seed);
    World(seed, tally).run();
    return;
  }
  for (uint64_t seed = 1; seed <= kSeedCount; ++seed) {
    CAPTURE(seed);
    World(seed, tally).run();
  }
  CHECK(tally.forwarded_count > 10'000);
  CHECK(tally.flooded_count > 10'000);
  CHECK(tally.retagged_count > 10'000);
  for (const auto reason : {DropReason::kRunt, DropReason::kHairpin, DropReason::kTooLong,
                            DropReason::kQueueFull, DropReason::kVlanNotMember}) {
    CAPTURE(netstack::drop_reason_name(reason));
    CHECK(tally.drops[reason] > 100);
  }
}

TEST_CASE("allocations are really counted") {
  const uint64_t before = allocation_count;
  const auto bytes = std::make_unique<Bytes>(100);
  const auto frame = std::make_unique<netstack::Frame>();
  CHECK(allocation_count == before + 3);
  CHECK(bytes->size() == 100);
  CHECK(frame->bytes == 0);
}
