#include "netstack/loop/loop.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "netstack/base/check.h"
#include "netstack/base/error.h"

namespace netstack {

Loop::Loop(Clock& clock) : clock_(clock), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw host_error(errno, "make an epoll descriptor", "raise `ulimit -n`");
}

Loop::~Loop() = default;

void Loop::watch(int fd, uint32_t epoll_events, ReadyHandler on_ready) {
  auto watch = std::make_unique<Watch>(Watch{fd, true, std::move(on_ready)});
  epoll_event event{};
  event.events = epoll_events;
  event.data.ptr = watch.get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    throw host_error(errno, "watch a descriptor", "");
  }
  const bool fresh = watches_.emplace(fd, std::move(watch)).second;
  check(fresh, "a descriptor is watched once");
}

void Loop::rewatch(int fd, uint32_t epoll_events) {
  const auto found = watches_.find(fd);
  check(found != watches_.end(), "a watched descriptor is rewatched");
  epoll_event event{};
  event.events = epoll_events;
  event.data.ptr = found->second.get();
  check(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0, "epoll knows what we watch");
}

void Loop::forget(int fd) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  found->second->live = false;
  forgotten_.push_back(std::move(found->second));
  watches_.erase(found);
}

Loop::TimerId Loop::at(uint64_t deadline_ns, Handler handler) {
  const TimerId id = timer_next_++;
  timers_.emplace(std::pair{deadline_ns, id}, std::move(handler));
  deadlines_.emplace(id, deadline_ns);
  return id;
}

Loop::TimerId Loop::after(uint64_t delay_ns, Handler handler) {
  return at(clock_.monotonic_ns() + delay_ns, std::move(handler));
}

void Loop::cancel(TimerId id) {
  const auto found = deadlines_.find(id);
  if (found == deadlines_.end()) return;
  timers_.erase({found->second, id});
  deadlines_.erase(found);
}

uint64_t Loop::next_deadline_ns() const {
  return timers_.empty() ? UINT64_MAX : timers_.begin()->first.first;
}

void Loop::at_end_of_tick(Handler handler) {
  end_of_tick_.push_back(std::move(handler));
}

void Loop::run() {
  running_ = true;
  while (running_) tick(-1);
}

// Rounds up, so that a timer is due when the wait is over.
int Loop::wait_ms(int64_t wait_ns_max) {
  if (!end_of_tick_.empty()) return 0;
  int64_t wait_ns = wait_ns_max;
  if (const uint64_t deadline_ns = next_deadline_ns(); deadline_ns != UINT64_MAX) {
    const uint64_t now_ns = clock_.monotonic_ns();
    const int64_t until_ns =
        deadline_ns > now_ns ? static_cast<int64_t>(deadline_ns - now_ns) : int64_t{0};
    wait_ns = wait_ns < 0 ? until_ns : std::min(wait_ns, until_ns);
  }
  if (wait_ns < 0) return -1;
  constexpr int64_t kMs = static_cast<int64_t>(kMillisecond_ns);
  return static_cast<int>(
      std::min<int64_t>((wait_ns + kMs - 1) / kMs, std::numeric_limits<int>::max()));
}

void Loop::tick(int64_t wait_ns_max) {
  std::array<epoll_event, 256> events;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 wait_ms(wait_ns_max));
  check(ready >= 0 || errno == EINTR, "epoll_wait works");
  for (int i = 0; i < ready; ++i) {
    auto* watch = static_cast<Watch*>(events[static_cast<size_t>(i)].data.ptr);
    if (watch->live) watch->on_ready(events[static_cast<size_t>(i)].events);
  }
  run_timers();
  run_end_of_tick();
  forgotten_.clear();
}

// Only what was due when we began: a timer that sets itself again at once waits for the next tick.
void Loop::run_timers() {
  if (timers_.empty()) return;
  const uint64_t now_ns = clock_.monotonic_ns();
  const TimerId fence = timer_next_;
  auto at = timers_.begin();
  while (at != timers_.end() && at->first.first <= now_ns) {
    if (at->first.second >= fence) {
      ++at;
      continue;
    }
    Handler handler = std::move(at->second);
    deadlines_.erase(at->first.second);
    timers_.erase(at);
    handler();
    at = timers_.begin();
  }
}

void Loop::run_end_of_tick() {
  ending_.swap(end_of_tick_);
  for (Handler& handler : ending_) handler();
  ending_.clear();
}

}  // namespace netstack
