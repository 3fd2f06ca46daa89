#pragma once

#include <cstdint>
#include <vector>

#include "netstack/loop/loop.h"

namespace netstack {

class VhostUserPort;

constexpr size_t kPollRounds_count = 4;           // looks at each busy guest per tick
constexpr uint64_t kPollWindow_ns_first = 4'000;  // the shortest polling worth it
constexpr uint64_t kPollWindow_ns_max = 32'000;   // the longest without a frame
constexpr unsigned kFruitlessWindows_count = 8;   // in a row, after which polling does not pay here
constexpr unsigned kUnpolledSleeps_count = 1024;  // until it is tried again

// Decides when guests' rings are looked at: one for all vhost-user ports of a loop.
//
//   kick ─► awake ─► poll each tick while frames come ─► poll for a window ─► kicks on, sleep
//             ▲                                                                        │
//             └────────────────────────── kick ◄───────────────────────────────────────┘
//
// At the end of each such tick, each guest that got something and wants to know is called, once.
class VhostUserPoller {
 public:
  explicit VhostUserPoller(Loop& loop) : loop_(loop) {}
  VhostUserPoller(const VhostUserPoller&) = delete;
  VhostUserPoller& operator=(const VhostUserPoller&) = delete;

  void add(VhostUserPort& port);
  void remove(VhostUserPort& port);

  void on_kick();   // a guest has work; its port is awake
  void schedule();  // a port has something to do at the end of this tick

  uint64_t window_ns() const { return window_ns_; }

 private:
  void run();
  bool poll_round();
  void judge_window(uint64_t slept_for_ns);
  void end_window();
  void sleep();

  Loop& loop_;
  std::vector<VhostUserPort*> ports_;
  bool scheduled_ = false;
  uint64_t worked_ns_ = 0;  // when frames last came
  uint64_t slept_ns_ = 0;   // when polling last ended
  uint64_t window_ns_ = 0;
  bool polling_ = false;          // inside a window
  unsigned fruitless_count_ = 0;  // windows in a row that ended without a frame
  unsigned unpolled_count_ = 0;   // sleeps still to come without a window before
};

}  // namespace netstack
