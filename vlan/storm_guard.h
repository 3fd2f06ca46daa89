#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/frame/frame.h"
#include "netstack/frame/port.h"
#include "vlan/fdb.h"

namespace vlan {

constexpr uint32_t kEchoCountMax = 16;  // telling ones, by a port within kEchoWindow_ns
constexpr uint64_t kEchoWindow_ns = 10 * netstack::kSecond_ns;
constexpr uint64_t kCopyWindow_ns =
    500 * netstack::kMillisecond_ns;  // the same frame so soon is a copy
constexpr uint64_t kEchoDelay_ns = 2 * netstack::kMillisecond_ns;  // each such one is telling
constexpr uint64_t kGuard_ns = 5 * netstack::kSecond_ns;  // without a copy: the guard lets go
constexpr uint64_t kEpisodeQuiet_ns = 60 * netstack::kSecond_ns;  // after that: a new episode

// What a switch is told when a loop is found, once per episode.
struct StormReport {
  std::span<const netstack::PortId> ports;  // that the loop goes through, valid during the call
};

// Finds loops (two switches cabled twice, two ports of one switch wired together) by their echoes,
// and says which ports they go through, so that the switch can keep frames from going round. How it
// tells a loop from honest floods is told in storm_guard.cc. Allocates nothing between join()s.
class StormGuard {
 public:
  explicit StormGuard(Fdb& fdb);

  // Called from inside Switch::receive(): may log, may not change the switch.
  void on_storm(std::function<void(const StormReport&)> say) { say_ = std::move(say); }

  bool engaged() const { return engaged_; }
  bool looping(netstack::PortId port) const { return port < ports_.size() && ports_[port].looping; }
  uint64_t engagement_count() const { return engagement_count_; }
  uint64_t episode_count() const { return episode_count_; }

  // --- for the switch ---
  void join(netstack::PortId port);
  void leave(netstack::PortId port);
  // Looks at a frame that is about to be flooded, or to go from one looping port to another. While
  // the guard is not engaged it is enough to show it those whose station has just moved to
  // `ingress`, and it says true; else it says whether the frame may pass. `vid` is the VLAN the
  // frame is in.
  bool admits(netstack::PortId ingress, const netstack::Frame& frame, uint16_t vid,
              uint64_t now_ns);
  void release_when_due(uint64_t now_ns);

 private:
  struct PortRecord {
    bool looping = false;
    uint32_t window = 0;  // that the counts belong to
    uint32_t echo_count = 0;
    uint32_t telling_count = 0;  // of them, those that tell a loop from a station with two ports
  };
  struct Sighting {
    uint64_t fingerprint = 0;
    netstack::PortId port = 0;
    bool echoed = false;  // by another port, since it was new
    uint64_t seen_ns = 0;
  };

  static bool is_fresh(const Sighting& sighting, uint64_t now_ns) {
    return now_ns - sighting.seen_ns < kCopyWindow_ns;
  }
  Sighting& find_sighting(uint64_t fingerprint, uint64_t now_ns);
  uint32_t echo_count(const PortRecord& port) const {
    return port.window == window_ ? port.echo_count : 0;
  }
  const PortRecord& count_echo(netstack::PortId port, bool telling, uint64_t now_ns);
  void engage(uint32_t echo_count_min, uint64_t now_ns);
  void prolong(uint64_t now_ns);

  Fdb& fdb_;
  std::function<void(const StormReport&)> say_;
  bool engaged_ = false;
  uint64_t release_ns_ = 0;
  uint64_t episode_end_ns_ = 0;
  uint64_t engagement_count_ = 0;
  uint64_t episode_count_ = 0;
  uint32_t window_ = 1;
  uint64_t window_start_ns_ = 0;
  std::vector<PortRecord> ports_;  // by id
  std::vector<netstack::PortId> looping_;
  std::vector<Sighting> sightings_;
  size_t taken_ = 0;  // sightings given up while still fresh
};

}  // namespace vlan
