// The storm guard.
//
// The danger: two switches joined by two cables hand a broadcast round and round for ever, at the
// speed of the machine; with three cables each round makes it more. There is no spanning tree here,
// and a program that limits broadcasts by rate would punish honest ones.
//
// How a loop shows: a frame that was flooded comes back by another port. Its source address then
// seems to have moved there. So the guard looks only at frames that are about to be flooded and
// whose source has just moved; it fingerprints each (addresses, VID, type, length, the first
// kFingerprintBytes of the body) and remembers by which port it came. The same frame by another
// port within kCopyWindow_ns is an echo, and counts for both ports: frames come in trains, and a
// train makes echoes by one port only. More than kEchoCountMax telling echoes on a port within
// kEchoWindow_ns: it is in a loop, and so are the ports with at least half as many echoes.
//
//        ┌───── switch ─────┐        A's broadcast goes out of 2 and 3, comes in by 3 and 2,
//   A ── 1                2 ┼──┐     and again: echoes on 2 and 3, in equal numbers. Port 1
//        │                3 ┼──┘     only sends what is new, one echo for each frame of A's.
//        └──────────────────┘
//
// Which echoes tell: a station with two ports (a bond, a guest on its way to another host) may say
// the same words by either in turn, and no such frame differs from one that goes round. Its pace
// does. The two ways round a loop are equally long, so the copies meet where they started, and the
// more of them there are the closer they follow each other. So an echo tells when it comes within
// kEchoDelay_ns of the frame before it, or is the first echo of its frame. The latter is for the
// other switches of a ring on a slow machine: past them the two ways come apart, and each new
// broadcast makes one late echo. Which ports the loop goes through is judged by all echoes, for a
// port that is left out keeps the storm alive.
//
// What happens then: the looping ports forget their stations, which the echoes have put in wrong
// places, and every flood is fingerprinted. One that comes by a looping port and was seen within
// kCopyWindow_ns, by any port, is a copy: dropped as `storm` on that port, and nothing is learned
// from it. The same goes for a known unicast on its way from one looping port to another, for a
// peer's spoilt table can send those round too. So nothing circulates, nobody gets a flood twice,
// and the LANs stay joined at full speed: of all ways, each flood arrives by the fastest.
//
// Every honest broadcast brings a copy by another port as long as the loop is there. After
// kGuard_ns without one the guard lets go. Should the loop be there still, it is found again. What
// happens within kEpisodeQuiet_ns after that is the same episode, and an episode is said once.
//
// To miss a looping port would let frames go round by it, while a port that is counted in wrongly
// loses only what it floods twice in the same words within kCopyWindow_ns. Hence the low count and
// the long kEchoWindow_ns: in a ring of many switches the first to act stops the storm, and the
// others see only a few echoes of each honest broadcast; they must act too, or their tables stay
// spoilt.
//
// What it leaves alone: floods at any rate from stations that stay (a benchmark on a hub, an ARP
// storm of a thousand hosts), since nothing moves; a thousand stations that move at once, since
// each says so once; a bond that sends round robin over two ports, which moves with every frame but
// never sends one twice, or repeats a few. Twins with the same address that keep saying the same
// within kEchoDelay_ns of each other do look like a loop. What it misses: a loop that changes every
// frame on its way, or takes longer than kCopyWindow_ns. What it lets pass: by two cables from a
// hub a known unicast comes twice. A guest that repeats others' frames can make their ports count
// as looping; with their address it could do more by speaking.
//
// Cost: nothing per frame while no station moves; a fingerprint when one does, and for every flood
// while the guard is engaged. Frames are remembered in kSetCount sets of kSetSightings, each in the
// set that its fingerprint names. When more are in flight some copies pass once more, and the storm
// dies down over some rounds instead of one.
//
// Refused: a rate limit on floods (it cannot tell a storm from a benchmark, and what it lets
// through still spoils the table), shutting looping ports (every switch of a ring would shut its
// own, and cut the LAN to pieces), pinning stations to ports (a circulating frame keeps its own pin
// alive), and probe frames of our own (a peer may not pass them, and guests would see them).
#include "vlan/storm_guard.h"

#include <algorithm>
#include <cstring>

namespace vlan {

using netstack::Frame;
using netstack::PortId;

namespace {

constexpr size_t kSetCount = 1024;  // a power of two
constexpr size_t kSetSightings = 4;
constexpr size_t kFingerprintBytes = 64;
constexpr uint64_t kFnvBasis = 0xcbf2'9ce4'8422'2325U;
constexpr uint64_t kFnvPrime = 0x0000'0100'0000'01b3U;

// FNV-1a, eight bytes a step. A guest that makes two frames collide gains nothing: it could as well
// send the same frame twice.
uint64_t add_word(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * kFnvPrime;
  return hash ^ hash >> 32U;
}

uint64_t add_bytes(uint64_t hash, const uint8_t* bytes, size_t size) {
  while (size > 0) {
    uint64_t word = 0;
    const size_t step = std::min(size, sizeof word);
    std::memcpy(&word, bytes, step);
    hash = add_word(hash, word);
    bytes += step;
    size -= step;
  }
  return hash;
}

// Without the tag itself, which may differ between two ways round.
uint64_t fingerprint_of(const Frame& frame, uint16_t vid) {
  const uint64_t body_bytes = frame.bytes - frame.head_bytes;
  uint64_t hash = add_word(kFnvBasis, body_bytes << 32U | uint64_t{vid} << 16U | frame.ethertype());
  hash = add_bytes(hash, frame.head.data(), 2 * sizeof(netstack::Mac));
  size_t left = kFingerprintBytes;
  for (const iovec& part : frame.body) {
    const size_t size = std::min<size_t>(left, part.iov_len);
    hash = add_bytes(hash, static_cast<const uint8_t*>(part.iov_base), size);
    left -= size;
    if (left == 0) break;
  }
  return hash;
}

}  // namespace

StormGuard::StormGuard(Fdb& fdb) : fdb_(fdb), sightings_(kSetCount * kSetSightings) {}

void StormGuard::join(PortId port) {
  if (port >= ports_.size()) ports_.resize(size_t{port} + 1);
  looping_.reserve(ports_.size());
}

void StormGuard::leave(PortId port) {
  ports_[port] = {};
}

bool StormGuard::admits(PortId ingress, const Frame& frame, uint16_t vid, uint64_t now_ns) {
  const uint64_t fingerprint = fingerprint_of(frame, vid);
  Sighting& sighting = find_sighting(fingerprint, now_ns);
  const bool copy = sighting.fingerprint == fingerprint && is_fresh(sighting, now_ns);
  const bool echo = copy && sighting.port != ingress;
  if (copy && looping(ingress)) {
    if (echo) prolong(now_ns);
    return false;
  }
  const Sighting before = copy ? sighting : Sighting{};
  sighting = {.fingerprint = fingerprint,
              .port = ingress,
              .echoed = echo || before.echoed,
              .seen_ns = now_ns};
  if (echo) {
    const bool telling = !before.echoed || now_ns - before.seen_ns <= kEchoDelay_ns;
    const PortRecord& one = count_echo(ingress, telling, now_ns);
    const PortRecord& other = count_echo(before.port, telling, now_ns);
    const PortRecord& most = one.telling_count > other.telling_count ? one : other;
    if (most.telling_count > kEchoCountMax) engage(most.echo_count / 2, now_ns);
  }
  return true;
}

// The frame's own sighting; or one that is not needed any more; or, in a full set, any one, since
// the oldest is just what frames that go round in turn would always find taken.
StormGuard::Sighting& StormGuard::find_sighting(uint64_t fingerprint, uint64_t now_ns) {
  Sighting* set = &sightings_[fingerprint % kSetCount * kSetSightings];
  Sighting* free = nullptr;
  for (Sighting* one = set; one != set + kSetSightings; ++one) {
    if (one->fingerprint == fingerprint) return *one;
    if (!is_fresh(*one, now_ns)) free = one;
  }
  return free != nullptr ? *free : set[++taken_ % kSetSightings];
}

const StormGuard::PortRecord& StormGuard::count_echo(PortId port, bool telling, uint64_t now_ns) {
  if (now_ns - window_start_ns_ >= kEchoWindow_ns) {
    window_start_ns_ = now_ns;
    ++window_;
  }
  PortRecord& record = ports_[port];
  if (record.window != window_) {
    record = {.looping = record.looping, .window = window_, .echo_count = 0, .telling_count = 0};
  }
  ++record.echo_count;
  if (telling) ++record.telling_count;
  return record;
}

// Ports that are looping already stay so: another loop, or another port of the same one.
void StormGuard::engage(uint32_t echo_count_min, uint64_t now_ns) {
  looping_.clear();
  for (PortId id = 0; id < ports_.size(); ++id) {
    PortRecord& port = ports_[id];
    if (echo_count(port) >= echo_count_min) {
      port.looping = true;
      fdb_.forget_port(id);
    }
    if (port.looping) looping_.push_back(id);
  }
  ++window_;
  engaged_ = true;
  ++engagement_count_;
  const bool is_new = now_ns >= episode_end_ns_;
  prolong(now_ns);
  if (!is_new) return;
  ++episode_count_;
  if (say_) say_({.ports = looping_});
}

void StormGuard::prolong(uint64_t now_ns) {
  release_ns_ = now_ns + kGuard_ns;
  episode_end_ns_ = release_ns_ + kEpisodeQuiet_ns;
}

void StormGuard::release_when_due(uint64_t now_ns) {
  if (!engaged_ || now_ns < release_ns_) return;
  engaged_ = false;
  for (PortRecord& port : ports_) port.looping = false;
}

}  // namespace vlan
