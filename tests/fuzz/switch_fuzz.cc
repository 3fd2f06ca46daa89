// Frames through a switch whose VLANs, mode, table and ports change underway. Two switches live the
// same life: one gets each burst whole, the other one frame at a time. Checked, for the second:
//
//   every frame goes to whom the mode says, once, and never out of the port it came in by, or it is
//   dropped with a reason; it arrives with the right tag and otherwise unchanged
//
// and that the first did the same in the same order, as long as no storm guard is engaged (a guard
// may engage in the middle of a burst).
//
//   input: modes │ ports │ short ports │ narrow ports │ records: operation (low 4 bits, up to 7 is
//   a burst) and its numbers
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "netstack/base/check.h"
#include "netstack/port/memory_port.h"
#include "tests/fuzz/input.h"
#include "vlan/switch.h"

using namespace netstack;

namespace {

using Bytes = std::vector<uint8_t>;

constexpr PortId kPorts_count_max = 6;
constexpr uint32_t kShortFrameBytesMax = 64;
constexpr size_t kNarrow_frames = 3;  // room in a narrow port
constexpr size_t kBurst_frames = 8;
constexpr size_t kTypeAt = 12;  // of the first type in a frame
constexpr std::array<int, 8> kVids{0, 1, 2, 3, 42, 4094, 4095, 5000};

struct Sent {
  Bytes bytes;
  Offload offload;
};

// --- frames -------------------------------------------------------------------------------------

void put_u16(Bytes& bytes, unsigned value) {
  bytes.push_back(static_cast<uint8_t>(value >> 8U));
  bytes.push_back(static_cast<uint8_t>(value));
}

// One of 14 stations, a group, or six bytes of the input.
void put_station(Bytes& bytes, unsigned number, tests::Input& input) {
  if (number == 14) {
    bytes.insert(bytes.end(), {0x01, 0x80, 0xc2, 0, 0, 2});
  } else if (number == 15) {
    const auto raw = input.bytes(sizeof(Mac));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  } else {
    bytes.insert(bytes.end(), {0x52, 0x54, 0, 0, 0, static_cast<uint8_t>(number)});
  }
}

//   stations │ tags (low 3 bits: how many and which; next 3: VID) and offload (bit 6) │ size
Sent read_frame(tests::Input& input) {
  Sent sent;
  const uint8_t stations = input.u8();
  const uint8_t tags = input.u8();
  put_station(sent.bytes, stations & 15U, input);
  put_station(sent.bytes, stations >> 4U, input);
  const unsigned vid = static_cast<unsigned>(kVids[tags >> 3U & 7U]) & 0xfffU;
  const unsigned priority = tags & 0x80U ? 0xb000U : 0U;
  constexpr std::array<std::array<unsigned, 2>, 8> kTypes{{{0, 0},
                                                           {0x8100, 0},
                                                           {0x8100, 0},
                                                           {0x88a8, 0},
                                                           {0x8100, 0x8100},
                                                           {0x88a8, 0x8100},
                                                           {0x8100, 0x88a8},
                                                           {0x9100, 0}}};
  for (const unsigned type : kTypes[tags & 7U]) {
    if (type == 0) continue;
    put_u16(sent.bytes, type);
    put_u16(sent.bytes, priority | vid);
  }
  const auto payload = input.bytes(input.u8());
  sent.bytes.insert(sent.bytes.end(), payload.begin(), payload.end());
  if ((tags & 0x40U) != 0) sent.offload = {true, input.u8(), input.u8()};
  return sent;
}

bool is_c_tagged(const Bytes& bytes) {
  return bytes[kTypeAt] == 0x81 && bytes[kTypeAt + 1] == 0x00;
}

// What a member of `vid` gets to see of a frame.
Bytes reshaped(Bytes bytes, int vid, bool tagged) {
  const auto tag = bytes.begin() + kTypeAt;
  if (is_c_tagged(bytes) && tagged) {
    bytes[kTypeAt + 2] = static_cast<uint8_t>((bytes[kTypeAt + 2] & 0xf0) | vid >> 8);
    bytes[kTypeAt + 3] = static_cast<uint8_t>(vid);
  } else if (is_c_tagged(bytes)) {
    bytes.erase(tag, tag + kTagBytes);
  } else if (tagged) {
    const std::array<uint8_t, kTagBytes> c_tag{0x81, 0x00, static_cast<uint8_t>(vid >> 8),
                                               static_cast<uint8_t>(vid)};
    bytes.insert(tag, c_tag.begin(), c_tag.end());
  }
  return bytes;
}

// --- a switch and its ports ---------------------------------------------------------------------

struct Shape {
  uint8_t modes;
  PortId port_count;
  uint8_t short_ports;   // by bit: takes frames of kShortFrameBytesMax
  uint8_t narrow_ports;  // has room for kNarrow_frames
};

vlan::FdbConfig table_for(const Shape& shape) {
  constexpr std::array<uint32_t, 4> kStations_count{1, 3, 8, 8192};
  vlan::FdbConfig config(17);
  config.station_count_max = kStations_count[shape.modes >> 2U & 3U];
  config.port_count_max = kPorts_count_max;
  return config;
}

class Fabric {
 public:
  Fabric(Clock& clock, const Shape& shape) : fabric(clock, table_for(shape)) {
    for (PortId id = 1; id <= shape.port_count; ++id) {
      const bool is_short = (shape.short_ports >> id & 1U) != 0;
      ports.push_back(std::make_unique<MemoryPort>(
          "port", MemoryPort::Keep::kFrames, is_short ? kShortFrameBytesMax : kFrameBytesMax));
      if ((shape.narrow_ports >> id & 1U) != 0) ports.back()->set_capacity_frames(kNarrow_frames);
      fabric.attach(*ports.back());
    }
    fabric.set_hub((shape.modes & 1U) != 0);
    if ((shape.modes & 2U) != 0) fabric.vlans().begin();
  }
  MemoryPort& port(PortId id) { return *ports[id - 1]; }

  void inject(PortId ingress, std::span<const Sent> burst) {
    FrameBatch<kBurst_frames> batch;
    size_t at = 0;
    for (const Sent& sent : burst) {
      if (!batch.add(sent.bytes.data(), sent.bytes.size())) continue;
      batch.frames()[at++].offload = sent.offload;
    }
    if (!batch.empty()) port(ingress).inject(batch.frames());
  }

  std::vector<std::unique_ptr<MemoryPort>> ports;  // outlive the switch, which detaches them
  vlan::Switch fabric;
};

// --- what must hold for one frame ---------------------------------------------------------------

// The VLAN a frame is in, by 802.1Q's rules. Empty: it may not come in.
std::optional<int> classify(const vlan::Vlans& vlans, PortId ingress, const Bytes& bytes) {
  const int pvid = vlans.pvid(ingress);
  if (is_c_tagged(bytes)) {
    const int vid = (bytes[kTypeAt + 2] & 15) << 8 | bytes[kTypeAt + 3];
    if (vlans.tagged(vid, ingress)) return vid;
    if (vid != 0 && vid != pvid) return std::nullopt;
  }
  return pvid == vlan::kNoVid ? std::nullopt : std::optional(pvid);
}

struct Wanted {
  bool admitted = true;
  bool rules = false;  // VLANs apply
  int vid = 0;
};

class Judge {
 public:
  Judge(Fabric& world, PortId ingress, const Sent& sent)
      : world_(world), ingress_(ingress), sent_(sent) {
    const vlan::Vlans& vlans = world.fabric.vlans();
    wanted_.rules = vlans.active() && !world.fabric.hub();
    if (wanted_.rules) {
      const auto vid = classify(vlans, ingress, sent.bytes);
      wanted_.admitted = vid.has_value();
      wanted_.vid = vid.value_or(0);
    }
    for (const auto& port : world.ports) before_.push_back(port->counters());
    waiting_ = counts();
  }

  void judge() {
    const PortCounters& now = world_.port(ingress_).counters();
    const PortCounters& was = before_[ingress_ - 1];
    check(now.egress_frames == was.egress_frames, "a frame never leaves where it came in");
    const uint64_t refused = now.dropped() - was.dropped();
    const size_t reached = judge_egress();
    check(refused <= 1 && (refused == 0 || reached == 0), "a frame is dropped or carried");
    if (!wanted_.admitted) check(refused == 1, "what may not come in is dropped");
    if (refused == 1) return;
    const bool group = (sent_.bytes[0] & 1U) != 0;
    if (group || world_.fabric.hub()) {
      check(reached == audience(), "a group's frame goes to all");
    } else {
      check(reached <= 1 || reached == audience(), "a frame goes to one or to all");
      check(reached > 0 || audience() == 0, "a frame that is not dropped arrives");
    }
  }

 private:
  bool is_member(PortId id) const {
    const vlan::Vlans& vlans = world_.fabric.vlans();
    return !wanted_.rules || vlans.pvid(id) == wanted_.vid || vlans.tagged(wanted_.vid, id);
  }
  size_t audience() const {
    size_t count = 0;
    for (PortId id = 1; id <= world_.ports.size(); ++id) count += id != ingress_ && is_member(id);
    return count;
  }
  std::vector<size_t> counts() const {
    std::vector<size_t> counts;
    for (const auto& port : world_.ports) counts.push_back(port->received_count());
    return counts;
  }
  // How many ports the frame was sent to, whether they took it or not.
  size_t judge_egress() {
    size_t reached = 0;
    for (PortId id = 1; id <= world_.ports.size(); ++id) {
      if (id == ingress_) continue;
      const PortCounters& now = world_.port(id).counters();
      const PortCounters& was = before_[id - 1];
      const uint64_t taken = now.egress_frames - was.egress_frames;
      const uint64_t sent = taken + now.dropped() - was.dropped();
      check(sent <= 1, "a port gets a frame once");
      check(sent == 0 || is_member(id), "a frame stays in its VLAN");
      check(taken == world_.port(id).received_count() - waiting_[id - 1], "what is counted is had");
      reached += sent;
    }
    return reached;
  }

  Fabric& world_;
  PortId ingress_;
  const Sent& sent_;
  Wanted wanted_;
  std::vector<PortCounters> before_;
  std::vector<size_t> waiting_;
};

// --- the two lives ------------------------------------------------------------------------------

class Twins {
 public:
  explicit Twins(tests::Input& input)
      : input_(input),
        shape_{input.u8(), 2 + input.u8() % (kPorts_count_max - 1), input.u8(), input.u8()} {}

  void run() {
    while (!input_.empty()) step(input_.u8());
  }

 private:
  void step(uint8_t head) {
    const unsigned operation = head & 15U;
    if (operation < 8) return burst(operation + 1, pick_port(head >> 4U));
    if (operation == 8) {
      constexpr uint64_t kStep_ns = 20 * kMillisecond_ns;
      return clock_.advance_ns((head & 0x10U) != 0 ? input_.u8() * kSecond_ns
                                                   : input_.u8() * kStep_ns);
    }
    const uint8_t numbers = input_.u8();
    change(one_by_one_, operation, numbers);
    change(in_bursts_, operation, numbers);
  }
  PortId pick_port(unsigned number) const { return 1 + number % shape_.port_count; }

  static void change(Fabric& world, unsigned operation, uint8_t numbers) {
    vlan::Switch& fabric = world.fabric;
    const int vid = kVids[numbers & 7U];
    const PortId port = 1 + (numbers >> 3U & 7U) % static_cast<PortId>(world.ports.size());
    switch (operation) {
      case 9:
        return fabric.set_hub((numbers & 1U) != 0);
      case 10:
        static_cast<void>((numbers & 8U) != 0 ? fabric.vlans().remove(vid)
                                              : fabric.vlans().create(vid));
        return;
      case 11:
        static_cast<void>(fabric.vlans().set_pvid(port, vid));
        return;
      case 12:
        static_cast<void>(fabric.vlans().add_tagged(vid, port));
        return;
      case 13:
        static_cast<void>(fabric.vlans().remove_tagged(vid, port));
        return;
      case 14:
        fabric.detach(world.port(port));
        check(fabric.attach_at(port, world.port(port)), "a port that was left is free");
        return;
      default:
        if ((numbers & 1U) != 0) return fabric.fdb().flush();
        return fabric.fdb().set_aging((numbers >> 1U) * kSecond_ns);
    }
  }

  void burst(size_t count, PortId ingress) {
    std::vector<Sent> frames;
    for (size_t i = 0; i < count; ++i) frames.push_back(read_frame(input_));
    in_bursts_.inject(ingress, frames);
    std::vector<size_t> sources;  // which frame each port's frames came from
    for (const Sent& sent : frames) send_one(ingress, sent);
    compare();
  }

  void send_one(PortId ingress, const Sent& sent) {
    Frame frame;
    iovec body{};
    if (!view_frame(sent.bytes.data(), sent.bytes.size(), frame, body)) return;
    Judge judge(one_by_one_, ingress, sent);
    const std::vector<Bytes> forms = forms_of(ingress, sent);
    std::vector<size_t> waiting;
    for (const auto& port : one_by_one_.ports) waiting.push_back(port->received_count());
    one_by_one_.inject(ingress, {&sent, 1});
    judge.judge();
    for (PortId id = 1; id <= shape_.port_count; ++id) {
      auto& expected = expected_[id - 1];
      if (one_by_one_.port(id).received_count() == waiting[id - 1]) continue;
      expected.push_back(sent.offload.needs_checksum ? Bytes{} : forms[id - 1]);
    }
  }
  // What each port would see of it.
  std::vector<Bytes> forms_of(PortId ingress, const Sent& sent) {
    const vlan::Vlans& vlans = one_by_one_.fabric.vlans();
    std::vector<Bytes> forms(shape_.port_count, sent.bytes);
    if (!vlans.active() || one_by_one_.fabric.hub()) return forms;
    const auto vid = classify(vlans, ingress, sent.bytes);
    if (!vid) return forms;
    for (PortId id = 1; id <= shape_.port_count; ++id) {
      forms[id - 1] = reshaped(sent.bytes, *vid, vlans.tagged(*vid, id));
    }
    return forms;
  }

  void compare() {
    guarded_ = guarded_ || one_by_one_.fabric.storm_guard().engaged() ||
               in_bursts_.fabric.storm_guard().engaged();
    for (PortId id = 1; id <= shape_.port_count; ++id) {
      const std::vector<Bytes> got = one_by_one_.port(id).take();
      const std::vector<Bytes> same = in_bursts_.port(id).take();
      std::vector<Bytes> expected;
      expected.swap(expected_[id - 1]);
      check(got.size() == expected.size(), "every frame is accounted for");
      for (size_t at = 0; at < got.size(); ++at) {
        check(expected[at].empty() || got[at] == expected[at], "a frame arrives as it should");
      }
      if (guarded_) continue;
      check(got == same, "a burst does what its frames do one by one");
      check(one_by_one_.port(id).counters().drops == in_bursts_.port(id).counters().drops,
            "and drops the same");
    }
    const auto& table = one_by_one_.fabric.fdb();
    check(table.station_count() <= table.config().station_count_max, "the table keeps its limit");
  }

  tests::Input& input_;
  Shape shape_;
  ManualClock clock_;
  Fabric one_by_one_{clock_, shape_};
  Fabric in_bursts_{clock_, shape_};
  std::array<std::vector<Bytes>, kPorts_count_max> expected_;  // by port; empty: any bytes
  bool guarded_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  Twins(input).run();
  return 0;
}
