#include "netstack/nat/slirp_engine.h"

#include <fmt/format.h>
#include <glib.h>
#include <libslirp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <utility>

#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/nat/large_segments.h"

namespace netstack {

namespace {

constexpr uint32_t kIdleTimeout_ms = 1000;  // what fill answers when libslirp waits for nothing
constexpr uint64_t kClockStale_ms = 20;
constexpr uint64_t kClockStart_ms = 1000;  // libslirp reads 0 as "no time" in several places
constexpr size_t kDistinctMessagesMax = 16;

in_addr to_in_addr(const IpAddress& address) {
  return {htonl(address.v4_bits())};
}

in6_addr to_in6_addr(const IpAddress& address) {
  in6_addr out{};
  std::memcpy(out.s6_addr, address.octets.data(), sizeof out.s6_addr);
  return out;
}

// Why the host has lost a TCP connection; 0: it is none, or has not. The errors of UDP sockets
// come with ICMP messages that libslirp passes on, and are left to it.
int take_loss(int fd) {
  int protocol = 0;
  socklen_t bytes = sizeof protocol;
  ::getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &bytes);
  if (protocol != IPPROTO_TCP) return 0;
  int errno_value = 0;
  bytes = sizeof errno_value;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno_value, &bytes);
  return errno_value;
}

// libslirp reports through glib. Guests can cause such messages at will, so each distinct text is
// passed on once, and only so many of them.
void log_from_glib(const char*, GLogLevelFlags, const char* message, void* opaque) {
  static std::set<std::string> said;
  if (said.size() >= kDistinctMessagesMax || !said.insert(message).second) return;
  static_cast<Log*>(opaque)->line(fmt::format("NAT engine: {}", message));
}

}  // namespace

struct SlirpEngine::Timer {
  SlirpEngine* engine;
  SlirpTimerCb callback;
  void* callback_opaque;
  Loop::TimerId id = 0;
};

// What libslirp calls. Each is a line: the work is in the member functions.
struct SlirpEngine::Callbacks {
  static SlirpEngine& engine(void* opaque) { return *static_cast<SlirpEngine*>(opaque); }

  static ssize_t send_packet(const void* data, size_t size, void* opaque) {
    SlirpEngine& self = engine(opaque);
    const int send_errno = self.lost_errno_ != 0 ? self.lost_errno_ : errno;
    if (self.hearing_ && self.voice_ == Voice::kSilent) return static_cast<ssize_t>(size);
    ++self.moves_;
    ++self.frame_count_;
    self.on_frame_({static_cast<const uint8_t*>(data), size}, send_errno);
    return static_cast<ssize_t>(size);  // less, or negative, would be logged per frame
  }
  static void guest_error(const char* message, void* opaque) {
    log_from_glib(nullptr, G_LOG_LEVEL_WARNING, message, &engine(opaque).log_);
  }
  static int64_t clock_get_ns(void* opaque) {
    return static_cast<int64_t>(engine(opaque).clock_.now_ms() * kMillisecond_ns);
  }
  static void* timer_new(SlirpTimerCb callback, void* callback_opaque, void* opaque) {
    return new Timer{&engine(opaque), callback, callback_opaque};
  }
  static void timer_free(void* timer, void* opaque) {
    engine(opaque).loop_.cancel(static_cast<Timer*>(timer)->id);
    delete static_cast<Timer*>(timer);
  }
  static void timer_mod(void* opaque_timer, int64_t expire_ms, void* opaque) {
    auto* timer = static_cast<Timer*>(opaque_timer);
    SlirpEngine& self = engine(opaque);
    if (self.voice_ == Voice::kSilent) return;  // its only timer is that of router advertisements
    self.loop_.cancel(timer->id);
    const uint64_t delay_ms = static_cast<uint64_t>(
        std::max<int64_t>(0, expire_ms - static_cast<int64_t>(self.clock_.now_ms())));
    timer->id = self.loop_.after(delay_ms * kMillisecond_ns, [timer] {
      timer->callback(timer->callback_opaque);
      timer->engine->on_activity_();
    });
  }
  static void opened_fd(int fd, void* opaque) {
    engine(opaque).forget_descriptor(fd);
    engine(opaque).opened_ = fd;
    engine(opaque).connects_.opened(fd);
  }
  static void closing_fd(int fd, void* opaque) {
    engine(opaque).forget_descriptor(fd);
    engine(opaque).ports_inside_.erase(fd);
    engine(opaque).connects_.closed(fd);
  }
  static void notify(void* opaque) { engine(opaque).on_activity_(); }
  static int add_poll(int fd, int events, void* opaque) {
    return engine(opaque).add_poll(fd, events);
  }
  static int get_revents(int index, void* opaque) { return engine(opaque).ready_events(index); }

  static const SlirpCb* table() {
    static const SlirpCb callbacks = [] {
      SlirpCb cb{};
      cb.send_packet = send_packet;
      cb.guest_error = guest_error;
      cb.clock_get_ns = clock_get_ns;
      cb.timer_new = timer_new;
      cb.timer_free = timer_free;
      cb.timer_mod = timer_mod;
      cb.register_poll_fd = opened_fd;
      cb.unregister_poll_fd = closing_fd;
      cb.notify = notify;
      return cb;
    }();
    return &callbacks;
  }
};

uint64_t SlirpClock::now_ms() const {
  return kClockStart_ms + (clock.monotonic_ns() - start_ns) / kMillisecond_ns;
}

SlirpEngine::SlirpEngine(Loop& loop, const GatewayConfig& config, SlirpClock& clock, Voice voice,
                         Log& log, ConnectWatch& connects, FrameHandler on_frame,
                         Loop::Handler on_activity)
    : loop_(loop),
      log_(log),
      connects_(connects),
      on_frame_(std::move(on_frame)),
      on_activity_(std::move(on_activity)),
      clock_(clock),
      voice_(voice),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw host_error(errno, "make an epoll descriptor", "raise `ulimit -n`");
  g_log_set_default_handler(log_from_glib, &log_);
  std::signal(SIGPIPE,
              SIG_IGN);  // libslirp sends without MSG_NOSIGNAL into connections that failed

  const GatewayNetwork& network = config.network;
  SlirpConfig slirp{};
  slirp.version = 4;
  slirp.in_enabled = true;
  slirp.vnetwork = to_in_addr(network.network);
  slirp.vnetmask = {htonl(network.netmask())};
  slirp.vhost = to_in_addr(network.gateway());
  slirp.vnameserver = to_in_addr(network.nameserver());
  slirp.vdhcp_start = to_in_addr(network.first_lease());
  slirp.disable_dhcp = true;  // the gateway has its own DHCP and DNS
  slirp.disable_dns = true;
  slirp.if_mtu = std::max<size_t>(config.names.mtu, LargeSegments::kEngineMtu_bytes_min);
  slirp.if_mru = slirp.if_mtu;
  slirp.in6_enabled = config.ipv6;
  slirp.vprefix_addr6 = to_in6_addr(GatewayNetwork::prefix6());
  slirp.vprefix_len = GatewayNetwork::kPrefix6Bits;
  slirp.vhost6 = to_in6_addr(GatewayNetwork::gateway6());
  slirp.vnameserver6 = to_in6_addr(GatewayNetwork::nameserver6());
  slirp.vhostname = "lanyard";
  slirp_ = slirp_new(&slirp, Callbacks::table(), this);
  check(slirp_ != nullptr, "libslirp takes a valid configuration");

  try {
    loop_.watch(epoll_.get(), EPOLLIN, [this](uint32_t) { poll(true); });
  } catch (...) {
    slirp_cleanup(slirp_);
    throw;
  }
  end_tick();
  poll(true);
}

SlirpEngine::~SlirpEngine() {
  loop_.cancel(pause_);
  loop_.forget(epoll_.get());
  slirp_cleanup(slirp_);
  g_log_set_default_handler(g_log_default_handler, nullptr);
}

void SlirpEngine::poll_if_stale() {
  if (clock_.now_ms() - clock_.polled_ms > kClockStale_ms) poll(false);
}

void SlirpEngine::input_reset(std::span<const uint8_t> frame) {
  poll_if_stale();  // what ends by itself now is not reset
  resetting_ = true;
  input(frame);
  resetting_ = false;
}

// A poll in which this one socket is ready and no other.
void SlirpEngine::serve_only(int fd, uint32_t epoll_events) {
  end_tick();  // libslirp learns the index it asks for
  check(ready_.empty(), "no poll is under way");
  descriptors_[fd].ready = epoll_events;
  ready_.push_back(fd);
  poll_slirp(true);
  ready_.clear();
  descriptors_[fd].ready = 0;
  on_activity_();
}

int SlirpEngine::input(std::span<const uint8_t> frame) {
  poll_if_stale();
  errno = 0;  // so that send_errno tells of this frame
  const uint64_t frames_before = frame_count_;
  slirp_input(slirp_, frame.data(), static_cast<int>(frame.size()));
  const int left_errno = frame_count_ == frames_before ? errno : 0;
  on_activity_();
  return left_errno;
}

void SlirpEngine::hear(std::span<const uint8_t> frame) {
  const uint64_t moves_before = moves_;
  hearing_ = true;
  errno = 0;
  slirp_input(slirp_, frame.data(), static_cast<int>(frame.size()));
  hearing_ = false;
  slirp_pollfds_poll(slirp_, 1, Callbacks::get_revents, this);
  clock_.polled_ms = clock_.now_ms();
  if (moves_ != moves_before) on_activity_();
}

void SlirpEngine::poll_slirp(bool with_sockets) {
  errno = 0;
  slirp_pollfds_poll(slirp_, with_sockets ? 0 : 1, Callbacks::get_revents, this);
  lost_errno_ = 0;
}

void SlirpEngine::poll(bool with_sockets) {
  const uint64_t moves_before = moves_;
  if (with_sockets) collect_ready();
  const bool woken_by_sockets = !ready_.empty();
  poll_slirp(with_sockets);
  clock_.polled_ms = clock_.now_ms();
  for (const int fd : ready_) {
    const auto slot = descriptors_.find(fd);
    if (slot != descriptors_.end()) slot->second.ready = 0;
  }
  ready_.clear();
  if (woken_by_sockets) pause_if_fruitless(moves_before);
  on_activity_();
}

// What this poll asks for anew shows in the fill at the tick's end, so a fruitful poll may count as
// fruitless once, and the next one sets that right.
void SlirpEngine::pause_if_fruitless(uint64_t moves_before) {
  fruitless_polls_ =
      moves_before == moves_ && moves_at_last_poll_ == moves_ ? fruitless_polls_ + 1 : 0;
  moves_at_last_poll_ = moves_;
  if (fruitless_polls_ < kFruitlessPollsMax || pause_ != 0) return;
  fruitless_polls_ = 0;
  loop_.rewatch(epoll_.get(), 0);
  pause_ = loop_.after(kPause_ns, [this] {
    pause_ = 0;
    loop_.rewatch(epoll_.get(), EPOLLIN);
  });
}

void SlirpEngine::collect_ready() {
  std::array<epoll_event, 256> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    descriptors_[event.data.fd].ready = event.events;
    ready_.push_back(event.data.fd);
  }
}

uint32_t SlirpEngine::end_tick() {
  ++generation_;
  polls_.clear();
  uint32_t timeout_ms = UINT32_MAX;
  slirp_pollfds_fill(slirp_, &timeout_ms, Callbacks::add_poll, this);
  leave_out_stale();
  return timeout_ms >= kIdleTimeout_ms && polls_.empty() ? kNoWait_ms : timeout_ms;
}

int SlirpEngine::add_poll(int fd, int slirp_events) {
  ++socket_visits_count_;
  const bool reading = (slirp_events & SLIRP_POLL_IN) != 0;
  const bool writing = (slirp_events & SLIRP_POLL_OUT) != 0;
  ask(fd, (reading ? uint32_t{EPOLLIN} : 0U) | (writing ? uint32_t{EPOLLOUT} : 0U));
  polls_.push_back({fd, writing && !reading});
  return static_cast<int>(polls_.size()) - 1;
}

int SlirpEngine::ready_events(int index) {
  const Poll& poll = polls_[static_cast<size_t>(index)];
  lost_errno_ = 0;
  errno = 0;  // what the socket before this one left is not this one's
  if (ready_.empty()) return 0;
  const auto slot = descriptors_.find(poll.fd);
  const uint32_t ready = slot == descriptors_.end() ? 0 : slot->second.ready;
  if (ready == 0) return 0;
  if (poll.connecting && (ready & (EPOLLERR | EPOLLHUP)) != 0) {
    // Either a connect that failed or a connection that can only write any more; both get their
    // error from the write itself.
    connects_.failed(poll.fd);
    return SLIRP_POLL_OUT;
  }
  if (poll.connecting) connects_.connected(poll.fd);
  // Taken from the socket, which libslirp then finds closed.
  if ((ready & EPOLLERR) != 0 && slot->second.lost_errno == 0) {
    slot->second.lost_errno = take_loss(poll.fd);
  }
  lost_errno_ = slot->second.lost_errno;
  errno = 0;
  return ((ready & EPOLLIN) != 0 ? SLIRP_POLL_IN : 0) |
         ((ready & EPOLLOUT) != 0 ? SLIRP_POLL_OUT : 0) |
         ((ready & EPOLLERR) != 0 ? SLIRP_POLL_ERR : 0) |
         ((ready & EPOLLHUP) != 0 ? SLIRP_POLL_HUP : 0);
}

void SlirpEngine::ask(int fd, uint32_t epoll_events) {
  Descriptor& slot = descriptors_[fd];
  slot.generation = generation_;
  if (slot.asked == epoll_events) return;
  epoll_event event{};
  event.events = epoll_events;
  event.data.fd = fd;
  const bool fresh = slot.asked == 0;
  if (::epoll_ctl(epoll_.get(), fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0) {
    check(errno == ENOSPC || errno == ENOMEM, "libslirp asks for sockets that are open");
    return;  // the kernel has no room for one more watch: the socket is asked for again next tick
  }
  if (fresh) asked_.push_back(fd);
  slot.asked = epoll_events;
  ++moves_;
}

// What was asked for before and not in this fill.
void SlirpEngine::leave_out_stale() {
  std::erase_if(asked_, [this](int fd) {
    Descriptor& slot = descriptors_[fd];
    if (slot.generation == generation_) return false;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    slot.asked = 0;
    if (slot.lost_errno == 0) descriptors_.erase(fd);  // else the guest is still to be told
    ++moves_;
    return true;
  });
}

// Opened or about to be closed: whatever epoll knew under this number is no longer true.
void SlirpEngine::forget_descriptor(int fd) {
  if (fd < 0) return;
  ++moves_;
  if (resetting_) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  const auto slot = descriptors_.find(fd);
  if (slot == descriptors_.end()) return;
  if (slot->second.asked != 0) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);  // fails when closed already: fine
    std::erase(asked_, fd);
  }
  descriptors_.erase(slot);
}

}  // namespace netstack
