#include "netstack/loop/loop.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "netstack/base/check.h"
#include "netstack/base/error.h"

namespace netstack {

Loop::Loop(Clock& clock) : clock_(clock), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw host_error(errno, "make an epoll descriptor", "raise `ulimit -n`");
}

Loop::~Loop() = default;

void Loop::watch(int fd, uint32_t epoll_events, ReadyHandler on_ready) {
  auto watch = std::make_unique<Watch>(Watch{fd, std::move(on_ready), epoll_events});
  if (!tell_kernel(*watch)) throw host_error(errno, "watch a descriptor", "");
  const bool fresh = watches_.emplace(fd, std::move(watch)).second;
  check(fresh, "a descriptor is watched once");
}

void Loop::rewatch(int fd, uint32_t epoll_events) {
  Watch& watch = find(fd);
  watch.events = epoll_events;
  check(tell_kernel(watch), "epoll takes what it has taken before");
}

void Loop::set_busy(int fd, bool busy) {
  Watch& watch = find(fd);
  if (watch.busy == busy) return;
  watch.busy = busy;
  if (busy) {
    if (watch.polled) stop_polling(watch);
    busy_.push_back(&watch);
  } else {
    std::erase(busy_, &watch);
    wait_by_poll(fd);
  }
  check(tell_kernel(watch), "epoll takes what it has taken before");
}

void Loop::wait_by_poll(int fd) {
  Watch& watch = find(fd);
  if (watch.busy || watch.polled || polled_.size() == kPolled_count) return;
  watch.polled = true;
  watch.heard = true;
  polled_.push_back(&watch);
  check(tell_kernel(watch), "epoll takes what it has taken before");
}

void Loop::stop_polling(Watch& watch) {
  watch.polled = false;
  std::erase(polled_, &watch);
}

void Loop::leave_quiet_to_epoll() {
  const std::vector<Watch*> polled = polled_;
  for (Watch* watch : polled) {
    if (std::exchange(watch->heard, false)) continue;
    stop_polling(*watch);
    check(tell_kernel(*watch), "epoll takes what it has taken before");
  }
}

void Loop::forget(int fd) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  Watch& watch = *found->second;
  if (watch.known) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  if (watch.busy) std::erase(busy_, &watch);
  if (watch.polled) stop_polling(watch);
  watch.live = false;
  forgotten_.push_back(std::move(found->second));
  watches_.erase(found);
}

Loop::Watch& Loop::find(int fd) {
  const auto found = watches_.find(fd);
  check(found != watches_.end(), "the descriptor is watched");
  return *found->second;
}

// False: it refuses, see errno.
bool Loop::tell_kernel(Watch& watch) {
  epoll_event event{};
  event.events = watch.busy ? watch.events & ~static_cast<uint32_t>(EPOLLIN) : watch.events;
  event.data.ptr = &watch;
  const bool wanted = !watch.polled && (!watch.busy || event.events != 0);
  if (!wanted && !watch.known) return true;
  const int operation = !watch.known ? EPOLL_CTL_ADD : wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
  if (::epoll_ctl(epoll_.get(), operation, watch.fd, &event) != 0) return false;
  watch.known = wanted;
  return true;
}

bool Loop::is_busy() const {
  return std::any_of(busy_.begin(), busy_.end(),
                     [](const Watch* watch) { return (watch->events & EPOLLIN) != 0; });
}

// Handlers may change the list: one that moves to a place we have passed is called next tick.
void Loop::call_busy() {
  for (size_t i = 0; i < busy_.size(); ++i) {
    if ((busy_[i]->events & EPOLLIN) != 0) busy_[i]->on_ready(EPOLLIN);
  }
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
  if (!end_of_tick_.empty() || is_busy()) return 0;
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

// How many of `events` there are. Those of polled descriptors are in asked_.
int Loop::wait_for_events(std::span<epoll_event> events, int wait_ms) {
  asked_.clear();
  called_.assign(polled_.begin(), polled_.end());
  if (!called_.empty()) {
    asked_.push_back({epoll_.get(), POLLIN, 0});
    for (const Watch* watch : called_) {
      asked_.push_back({watch->fd, static_cast<short>(watch->events & (EPOLLIN | EPOLLOUT)), 0});
    }
    const int polled = ::poll(asked_.data(), asked_.size(), wait_ms);
    check(polled >= 0 || errno == EINTR, "poll works");
    if (polled <= 0) called_.clear();
    if (polled <= 0 || asked_[0].revents == 0) return 0;
    wait_ms = 0;
  }
  const int ready =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms);
  check(ready >= 0 || errno == EINTR, "epoll_wait works");
  return ready;
}

// The bits of poll(2) are those of epoll.
void Loop::call_polled() {
  for (size_t i = 0; i < called_.size(); ++i) {
    const auto events = static_cast<uint32_t>(asked_[i + 1].revents);
    Watch& watch = *called_[i];
    if (events == 0 || !watch.live) continue;
    watch.heard = true;
    watch.on_ready(events);
  }
  if (polled_.empty() || ++polled_turns_ < kPolledTurns_count) return;
  polled_turns_ = 0;
  leave_quiet_to_epoll();
}

void Loop::tick(int64_t wait_ns_max) {
  std::array<epoll_event, 256> events;
  const int ready = wait_for_events(events, wait_ms(wait_ns_max));
  call_busy();  // before a handler makes more of them: one turn each
  call_polled();
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
