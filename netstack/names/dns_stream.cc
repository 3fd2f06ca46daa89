#include "netstack/names/dns_stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "netstack/base/bytes.h"
#include "netstack/names/dns_message.h"

namespace netstack {

namespace {

constexpr size_t kLengthBytes = 2;  // RFC 1035 §4.2.2
constexpr int kBacklog_count = 64;
constexpr int kAcceptsPerTick = 16;
constexpr size_t kReadBytes = 4096;

IpAddress loopback(bool v6) {
  IpAddress address = IpAddress::v4(0x7f000001);
  if (v6) {
    address = {};
    address.v6 = true;
    address.octets[15] = 1;
  }
  return address;
}

}  // namespace

DnsStream::~DnsStream() {
  loop_.cancel(expiry_);
  for (const Loop::TimerId pause : pause_) loop_.cancel(pause);
  for (const auto& [id, connection] : connections_) loop_.forget(connection.socket.get());
  for (const Listener& listener : listeners_) {
    if (listener.socket) loop_.forget(listener.socket.get());
  }
}

uint16_t DnsStream::expect(const IpAddress& guest) {
  if (!listeners_[guest.v6 ? 1 : 0].socket && !open(guest.v6)) return 0;
  if (expected_.size() >= kExpectedMax) expected_.pop_front();
  expected_.push_back({guest, loop_.clock().monotonic_ns() + kExpected_ns});
  return port(guest.v6);
}

bool DnsStream::open(bool v6) {
  Fd socket(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_storage address{};
  socklen_t bytes = to_sockaddr(loopback(v6), 0, address);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  if (!socket || ::bind(socket.get(), name, bytes) != 0 ||
      ::listen(socket.get(), kBacklog_count) != 0) {
    return false;
  }
  bytes = sizeof address;
  if (::getsockname(socket.get(), name, &bytes) != 0) return false;
  Listener& listener = listeners_[v6 ? 1 : 0];
  listener.port = ntohs(v6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                           : reinterpret_cast<const sockaddr_in&>(address).sin_port);
  listener.socket = std::move(socket);
  loop_.watch(listener.socket.get(), EPOLLIN, [this, v6](uint32_t) { accept(v6); });
  return true;
}

// libslirp connects while it takes the guest's SYN in, so connections come in the order in which
// guests were expected.
void DnsStream::accept(bool v6) {
  for (int i = 0; i < kAcceptsPerTick; ++i) {
    Fd socket(::accept4(listeners_[v6 ? 1 : 0].socket.get(), nullptr, nullptr,
                        SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE) make_room(v6);
      return;
    }
    const auto guest = claim(v6);
    if (!guest) {
      ++stranger_count_;
      continue;
    }
    if (connections_.size() >= kConnectionsMax) close_longest_idle();
    const uint64_t id = next_id_++;
    Connection& connection = connections_[id];
    connection.socket = std::move(socket);
    connection.guest = *guest;
    connection.used_ns = loop_.clock().monotonic_ns();
    connection.events = EPOLLIN;
    loop_.watch(connection.socket.get(), EPOLLIN,
                [this, id](uint32_t events) { on_ready(id, events); });
    arm_expiry();
  }
}

// No descriptor is left. One of ours makes room, and the connection is taken in the next tick; with
// none to give, the waiting connection would keep the loop awake, so it is left alone for a while.
void DnsStream::make_room(bool v6) {
  if (!connections_.empty()) return close_longest_idle();
  loop_.rewatch(listeners_[v6 ? 1 : 0].socket.get(), 0);
  loop_.cancel(pause_[v6 ? 1 : 0]);
  pause_[v6 ? 1 : 0] = loop_.after(
      kPause_ns, [this, v6] { loop_.rewatch(listeners_[v6 ? 1 : 0].socket.get(), EPOLLIN); });
}

std::optional<IpAddress> DnsStream::claim(bool v6) {
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  std::erase_if(expected_, [&](const Expected& each) { return each.until_ns <= now_ns; });
  const auto found =
      std::ranges::find_if(expected_, [&](const Expected& each) { return each.guest.v6 == v6; });
  if (found == expected_.end()) return std::nullopt;
  const IpAddress guest = found->guest;
  expected_.erase(found);
  return guest;
}

void DnsStream::on_ready(uint64_t id, uint32_t epoll_events) {
  if ((epoll_events & (EPOLLERR | EPOLLHUP)) != 0) return close(id);
  if ((epoll_events & EPOLLIN) != 0 && !read(id)) return close(id);
  settle(id);
}

// False: the connection is of no more use.
bool DnsStream::read(uint64_t id) {
  Connection& connection = connections_.at(id);
  std::array<uint8_t, kReadBytes> bytes;
  const ssize_t size = ::recv(connection.socket.get(), bytes.data(), bytes.size(), 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  connection.used_ns = loop_.clock().monotonic_ns();
  if (size == 0) {
    connection.ended = true;
    return connection.query_count > 0 || !connection.output.empty();
  }
  connection.input.insert(connection.input.end(), bytes.begin(), bytes.begin() + size);
  return take_queries(id);
}

// Whole queries out of the input, as many as may be under way. A handler may answer at once, and so
// close the connection: it is looked up anew each time.
bool DnsStream::take_queries(uint64_t id) {
  for (;;) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) return true;
    Connection& connection = found->second;
    if (is_full(connection) || connection.input.size() < kLengthBytes) return true;
    const size_t bytes = read_u16(connection.input.data());
    if (bytes > kDnsQueryBytesMax) return false;
    if (connection.input.size() < kLengthBytes + bytes) return true;
    const auto begin = connection.input.begin() + kLengthBytes;
    const std::vector<uint8_t> query(begin, begin + static_cast<ptrdiff_t>(bytes));
    connection.input.erase(connection.input.begin(), begin + static_cast<ptrdiff_t>(bytes));
    ++connection.query_count;
    handler_.on_query(id, connection.guest, query);
  }
}

bool DnsStream::is_full(const Connection& connection) const {
  return connection.query_count >= kQueriesMax || connection.output.size() >= kUnsentBytesMax;
}

void DnsStream::answer(uint64_t connection_id, std::span<const uint8_t> message) {
  const auto found = connections_.find(connection_id);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  if (connection.query_count > 0) --connection.query_count;
  std::array<uint8_t, kLengthBytes> length{};
  write_u16(length.data(), static_cast<uint16_t>(message.size()));
  connection.output.insert(connection.output.end(), length.begin(), length.end());
  connection.output.insert(connection.output.end(), message.begin(), message.end());
  connection.used_ns = loop_.clock().monotonic_ns();
  loop_.rewatch(connection.socket.get(), connection.events = EPOLLOUT);
}

// False: the guest is gone.
bool DnsStream::write(Connection& connection) {
  const ssize_t size = ::send(connection.socket.get(), connection.output.data(),
                              connection.output.size(), MSG_NOSIGNAL);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  connection.output.erase(connection.output.begin(), connection.output.begin() + size);
  return true;
}

// Writes what there is, takes in what waited for room, and asks the loop for what comes next.
void DnsStream::settle(uint64_t id) {
  auto found = connections_.find(id);
  if (found == connections_.end()) return;
  if (!found->second.output.empty() && !write(found->second)) return close(id);
  if (!take_queries(id)) return close(id);
  found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  if (connection.ended && connection.output.empty() && connection.query_count == 0) {
    return close(id);
  }
  const bool reading = !connection.ended && !is_full(connection);
  connection.events =
      (reading ? uint32_t{EPOLLIN} : 0U) | (connection.output.empty() ? 0U : uint32_t{EPOLLOUT});
  loop_.rewatch(connection.socket.get(), connection.events);
}

void DnsStream::close(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  loop_.forget(found->second.socket.get());
  connections_.erase(found);
  handler_.on_closed(id);
}

void DnsStream::close_longest_idle() {
  const auto oldest = std::ranges::min_element(
      connections_, {}, [](const auto& entry) { return entry.second.used_ns; });
  if (oldest != connections_.end()) close(oldest->first);
}

void DnsStream::arm_expiry() {
  if (expiry_ != 0 || connections_.empty()) return;
  const auto oldest = std::ranges::min_element(
      connections_, {}, [](const auto& entry) { return entry.second.used_ns; });
  expiry_ = loop_.at(oldest->second.used_ns + kIdle_ns, [this] { expire(); });
}

void DnsStream::expire() {
  expiry_ = 0;
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  std::vector<uint64_t> idle;
  for (const auto& [id, connection] : connections_) {
    if (connection.used_ns + kIdle_ns <= now_ns) idle.push_back(id);
  }
  for (const uint64_t id : idle) close(id);
  arm_expiry();
}

}  // namespace netstack
