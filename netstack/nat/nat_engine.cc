// Why many instances of libslirp.
//
// libslirp looks at every socket it has each time it is asked what to wait for, and again each time
// it is told what is ready, and it finds a segment's flow by walking a list. One busy flow beside
// 10 000 idle connections pays for them in every tick. What it looks at cannot be chosen, so what
// it has is divided: a flow lives in the instance its guest's port number falls to, and an instance
// is filled and polled only in a tick that touched it: a frame for it came, one of its sockets is
// ready (each instance has its own epoll), or its timers are due. With 10 000 idle connections a
// busy flow shares its instance with some 150, and the rest sleeps.
//
// The port alone decides, nothing is remembered of a flow. A guest's UDP socket is one socket
// whoever it talks to, so the peer's address must not matter; a forward listens before it knows
// which guest will answer, so the guest's must not either: it lives where the guest's port falls
// to, and the answers find it. The hash is seeded, so that a guest cannot aim its connections at
// one instance; should it manage, the others are no worse off than with a single one.
//
// What instances have in common:
//  - ARP and NDP. Each instance must know the guests' MACs, so each hears what the guests say; only
//    instance 0 answers. A guest's ARP thus costs 64 table look-ups, less than one of its datagrams
//    costs in system calls.
//  - Time. libslirp's clock is one per process; they share its owner's view, SlirpClock.
//  - The slow timers. Each instance that has sockets wants its timers run every 499 ms. They are
//    run in one round, so that a LAN with idle connections wakes up twice a second and not 128
//    times, and kRoundInstances_count in a tick, so that frames need not wait for all of them.
//
// Measured with Debian's libslirp 4.7: making an instance takes 12 to 25 µs and 9 KiB. A fill and a
// poll of libslirp's own take 0.05 µs with no socket, 1 µs with 150 and 72 µs with 10 000.
//
// Refused: a table of flows that keeps busy ones apart from idle ones. Whether a flow will be busy
// is not known when it must be placed, and it cannot be moved later.
#include "netstack/nat/nat_engine.h"

#include <algorithm>
#include <bit>
#include <random>
#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/frame/frame.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"

namespace netstack {

namespace {

constexpr size_t kSpeaker = 0;            // the instance with a voice
constexpr uint32_t kRound_ms = 499;       // libslirp's slow timers
constexpr uint16_t kPorts_mask = 0x1fff;  // IPv4 fragment offset: only the first piece has ports

enum class Kind : uint8_t { kNeighbour, kFlow, kOther };

struct Sorted {
  Kind kind = Kind::kOther;
  uint16_t guest_port = 0;
};

bool has_ports(uint8_t protocol) {
  return protocol == kProtocolTcp || protocol == kProtocolUdp;
}

Sorted sort_v4(std::span<const uint8_t> ip) {
  if (ip.size() < kIpv4HeadBytes) return {};
  const size_t transport = size_t{ip[0] & 0x0fU} * 4;
  if (!has_ports(ip[9]) || (read_u16(&ip[6]) & kPorts_mask) != 0) return {};
  if (ip.size() < transport + 2) return {};
  return {Kind::kFlow, read_u16(&ip[transport])};
}

Sorted sort_v6(std::span<const uint8_t> ip) {
  if (ip.size() < kIpv6HeadBytes + 2) return {};
  if (has_ports(ip[6])) return {Kind::kFlow, read_u16(&ip[kIpv6HeadBytes])};
  const bool discovery =
      ip[6] == kProtocolIcmpv6 && ip[kIpv6HeadBytes] >= kIcmpv6RouterSolicitation;
  return {discovery ? Kind::kNeighbour : Kind::kOther};
}

Sorted sort(std::span<const uint8_t> frame) {
  if (frame.size() < kEthernetHeadBytes) return {};
  switch (read_u16(&frame[12])) {
    case kEthertypeArp:
      return {Kind::kNeighbour};
    case kEthertypeIpv4:
      return sort_v4(frame.subspan(kEthernetHeadBytes));
    case kEthertypeIpv6:
      return sort_v6(frame.subspan(kEthernetHeadBytes));
    default:
      return {};
  }
}

uint64_t draw_seed() {
  std::random_device device;
  return uint64_t{device()} << 32U | device();
}

// The index of the lowest one, which is taken out.
size_t take_first(uint64_t& mask) {
  const auto index = static_cast<size_t>(std::countr_zero(mask));
  mask &= mask - 1;
  return index;
}

}  // namespace

NatEngine::NatEngine(Loop& loop, const GatewayConfig& config, Log& log, ConnectWatch& connects,
                     SlirpEngine::FrameHandler on_frame, Loop::Handler on_activity)
    : loop_(loop), clock_(loop.clock()), seed_(draw_seed()) {
  for (size_t i = 0; i < kInstances_count; ++i) {
    const auto voice = i == kSpeaker ? SlirpEngine::Voice::kSpeaks : SlirpEngine::Voice::kSilent;
    instances_[i] = std::make_unique<SlirpEngine>(loop, config, clock_, voice, log, connects,
                                                  on_frame, [this, on_activity, i] {
                                                    touched_ |= Mask{1} << i;
                                                    on_activity();
                                                  });
  }
}

NatEngine::~NatEngine() {
  loop_.cancel(round_timer_);
  loop_.cancel(hurry_timer_);
}

// The finaliser of SplitMix64: every bit of the port and of the seed moves every bit that is kept.
size_t NatEngine::index_of(uint16_t guest_port) const {
  uint64_t mix = seed_ ^ guest_port;
  mix = (mix ^ mix >> 30U) * 0xbf58476d1ce4e5b9U;
  mix = (mix ^ mix >> 27U) * 0x94d049bb133111ebU;
  return (mix ^ mix >> 31U) % kInstances_count;
}

int NatEngine::input(std::span<const uint8_t> frame) {
  const Sorted sorted = sort(frame);
  switch (sorted.kind) {
    case Kind::kNeighbour:
      for (const auto& instance : instances_) instance->hear(frame);
      return 0;
    case Kind::kFlow:
      return of(sorted.guest_port).input(frame);
    case Kind::kOther:
      break;
  }
  return instances_[kSpeaker]->input(frame);
}

void NatEngine::end_tick() {
  for (Mask touched = std::exchange(touched_, 0); touched != 0;) {
    const size_t index = take_first(touched);
    take_waits(index, instances_[index]->end_tick());
  }
  set_timers();
}

uint64_t NatEngine::socket_visits_count() const {
  uint64_t count = 0;
  for (const auto& instance : instances_) count += instance->socket_visits_count();
  return count;
}

void NatEngine::take_waits(size_t index, uint32_t wait_ms) {
  const Mask bit = Mask{1} << index;
  live_ = wait_ms == SlirpEngine::kNoWait_ms ? live_ & ~bit : live_ | bit;
  if (wait_ms >= kRound_ms) {
    hurried_ &= ~bit;
    return;
  }
  hurry_ms_ = hurried_ == 0 ? wait_ms : std::min(hurry_ms_, wait_ms);
  hurried_ |= bit;
}

void NatEngine::set_timers() {
  if (live_ != 0 && round_timer_ == 0) {
    const uint64_t now_ns = loop_.clock().monotonic_ns();
    // A round that is not over goes on at once; the next one begins kRound_ms after the last.
    const uint64_t start_ns =
        round_ != 0 ? now_ns : std::max(now_ns, round_start_ns_ + kRound_ms * kMillisecond_ns);
    round_timer_ = loop_.at(start_ns, [this] {
      round_timer_ = 0;
      if (round_ == 0) {
        round_ = live_;
        round_start_ns_ = loop_.clock().monotonic_ns();
      }
      run_some(round_);
    });
  }
  if (hurried_ != 0 && hurry_timer_ == 0) {
    hurry_timer_ = loop_.after(hurry_ms_ * kMillisecond_ns, [this] {
      hurry_timer_ = 0;
      Mask due = std::exchange(hurried_, 0);
      while (due != 0) instances_[take_first(due)]->run_timers();
    });
  }
}

// Each asks for end_tick(), where it says when it is due again and the timers are set anew.
void NatEngine::run_some(Mask& due) {
  for (size_t served = 0; due != 0 && served < kRoundInstances_count; ++served) {
    instances_[take_first(due)]->run_timers();
  }
}

}  // namespace netstack
