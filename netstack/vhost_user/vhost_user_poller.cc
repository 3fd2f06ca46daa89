// Sleeping costs a guest one kick (a system call, in the guest's place an exit) and us a wake-up:
// some 5 µs together, and more where processors sleep too. Polling costs a processor that a guest
// may need. So a poll that found nothing for window_ns_ ends, and the window learns from what comes
// next, as KVM's halt polling does:
//
//   woken within kPollWindow_ns_max of falling asleep    polling a little longer would have paid:
//                                                         the window doubles
//   slept longer                                          the window was wasted: it halves, down to
//   0
//
// Where the guest has no processor but ours, all of this misleads: it cannot run while we poll, and
// kicks as soon as we sleep. What tells is that no window ever ends with a frame. After
// kFruitlessWindows_count such windows none is opened for kUnpolledSleeps_count sleeps, so a trial
// of 0.2 ms costs a hundredth of the time or so. On one processor that turned 0.16 times the frames
// per second into 0.92; on two, polling gives up to twice as many (bench/README.md).
//
// An idle LAN sleeps in epoll with no timer. While polling, the loop's other descriptors are served
// each tick.
#include "netstack/vhost_user/vhost_user_poller.h"

#include <algorithm>

#include "netstack/vhost_user/vhost_user_port.h"

namespace netstack {

void VhostUserPoller::add(VhostUserPort& port) {
  ports_.push_back(&port);
}

void VhostUserPoller::remove(VhostUserPort& port) {
  std::erase(ports_, &port);
}

void VhostUserPoller::on_kick() {
  if (slept_ns_ != 0) {
    const uint64_t slept_for_ns = loop_.clock().monotonic_ns() - slept_ns_;
    slept_ns_ = 0;
    judge_window(slept_for_ns);
  }
  schedule();
}

void VhostUserPoller::judge_window(uint64_t slept_for_ns) {
  if (unpolled_count_ > 0) {
    --unpolled_count_;
  } else if (slept_for_ns <= kPollWindow_ns_max) {
    window_ns_ = std::clamp(2 * window_ns_, kPollWindow_ns_first, kPollWindow_ns_max);
  } else {
    window_ns_ = window_ns_ / 2 < kPollWindow_ns_first ? 0 : window_ns_ / 2;
  }
}

// It ended without a frame.
void VhostUserPoller::end_window() {
  polling_ = false;
  if (window_ns_ == 0 || ++fruitless_count_ < kFruitlessWindows_count) return;
  fruitless_count_ = 0;
  unpolled_count_ = kUnpolledSleeps_count;
  window_ns_ = 0;
}

void VhostUserPoller::schedule() {
  if (scheduled_) return;
  scheduled_ = true;
  loop_.at_end_of_tick([this] { run(); });
}

void VhostUserPoller::run() {
  scheduled_ = false;
  bool worked = false;
  for (size_t round = 0; round < kPollRounds_count && poll_round(); ++round) worked = true;
  for (VhostUserPort* port : ports_) port->call_guest();
  const bool awake =
      std::any_of(ports_.begin(), ports_.end(), [](const auto* port) { return port->awake(); });
  if (!awake) return;
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  if (worked) {
    if (polling_) fruitless_count_ = 0;
    polling_ = false;
    worked_ns_ = now_ns;
    return schedule();
  }
  polling_ = now_ns - worked_ns_ < window_ns_;
  if (polling_) return schedule();
  end_window();
  sleep();
}

bool VhostUserPoller::poll_round() {
  bool worked = false;
  for (VhostUserPort* port : ports_) {
    if (port->awake() && port->poll()) worked = true;
  }
  return worked;
}

// Guests that found work in the last moment stay awake.
void VhostUserPoller::sleep() {
  bool all = true;
  for (VhostUserPort* port : ports_) {
    if (port->awake() && !port->sleep()) all = false;
  }
  if (all) {
    slept_ns_ = loop_.clock().monotonic_ns();
  } else {
    schedule();
  }
}

}  // namespace netstack
