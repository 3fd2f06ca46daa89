#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/base/fd.h"

namespace netstack {

// One LAN, one loop, one thread. Each tick: wait → handlers of ready descriptors → timers →
// end-of-tick work, in this order.
//
//   ┌─► epoll_wait ─► on_ready(fd) … ─► timers due ─► at_end_of_tick … ─┐
//   └────────────────────────────────────────────────────────────────────┘
//
// Handlers of busy descriptors (see set_busy) come before those of ready ones. Peers that talk are
// waited for by poll(2) (see wait_by_poll), which waits for epoll's descriptor as well.
//
// Handlers take a bounded amount of work each (a budget of frames), so nobody starves. Descriptors
// are level-triggered: what a handler leaves comes back next tick. Any of the calls below may be
// made from inside any handler.
class Loop {
 public:
  using Handler = std::function<void()>;
  using ReadyHandler = std::function<void(uint32_t epoll_events)>;
  using TimerId = uint64_t;                   // never reused; 0 is never given
  static constexpr size_t kPolled_count = 8;  // for poll(2) looks at each of them each time
  static constexpr unsigned kPolledTurns_count = 1024;

  explicit Loop(Clock& clock);  // throws Error when the kernel gives no epoll descriptor
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Clock& clock() { return clock_; }

  // The descriptor stays the caller's, who forgets it before closing it. Throws Error.
  void watch(int fd, uint32_t epoll_events, ReadyHandler on_ready);
  void rewatch(int fd, uint32_t epoll_events);  // other events, same handler
  void forget(int fd);
  // Whether a peer sends, or takes, without pause. The handler of a busy descriptor that waits for
  // EPOLLIN is called with it in every tick, ready or not, and the loop does not sleep; the kernel
  // is not asked. That spares the *peer*: what it sends to, or reads from, a socket in an epoll set
  // costs it a walk through the socket's wait queue each time.
  void set_busy(int fd, bool busy);
  // For a peer that says a little again and again: until kPolledTurns_count turns have passed
  // without a word of it, the loop waits for its descriptor by poll(2), which spares the peer that
  // walk, too. What was busy is waited for so at first. Up to kPolled_count at a time; further ones
  // are left to epoll.
  void wait_by_poll(int fd);

  TimerId at(uint64_t deadline_ns, Handler handler);  // on Clock::monotonic_ns
  TimerId after(uint64_t delay_ns, Handler handler);
  void cancel(TimerId id);            // unknown or past: nothing happens
  uint64_t next_deadline_ns() const;  // of all timers; UINT64_MAX: none

  // Runs once, when this tick ends (or the next one, if called from end-of-tick work).
  void at_end_of_tick(Handler handler);

  void run();  // until stop()
  void stop() { running_ = false; }
  void tick(int64_t wait_ns_max);  // one turn; -1 waits for ever

 private:
  struct Watch {
    int fd;
    ReadyHandler on_ready;
    uint32_t events;  // that the handler wants
    bool live = true;
    bool busy = false;
    bool polled = false;
    bool heard = false;  // since the last look for quiet ones, if polled
    bool known = false;  // to epoll
  };

  bool tell_kernel(Watch& watch);
  Watch& find(int fd);
  bool is_busy() const;
  void call_busy();
  int wait_for_events(std::span<epoll_event> events, int wait_ms);
  void call_polled();
  void stop_polling(Watch& watch);
  void leave_quiet_to_epoll();
  int wait_ms(int64_t wait_ns_max);
  void run_timers();
  void run_end_of_tick();

  Clock& clock_;
  Fd epoll_;
  std::unordered_map<int, std::unique_ptr<Watch>> watches_;
  std::vector<std::unique_ptr<Watch>> forgotten_;  // freed when the tick that forgot them is over
  std::vector<Watch*> busy_;                       // not all of them read now
  std::vector<Watch*> polled_;
  std::vector<pollfd> asked_;   // of this tick's poll(2): epoll, then those of called_
  std::vector<Watch*> called_;  // polled_ as it was then
  unsigned polled_turns_ = 0;   // since the last look for quiet ones
  std::map<std::pair<uint64_t, TimerId>, Handler> timers_;  // by deadline
  std::unordered_map<TimerId, uint64_t> deadlines_;
  std::vector<Handler> end_of_tick_;
  std::vector<Handler> ending_;  // those that run; kept for its memory
  TimerId timer_next_ = 1;
  bool running_ = false;
};

}  // namespace netstack
