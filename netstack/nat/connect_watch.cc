#include "netstack/nat/connect_watch.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <utility>

namespace netstack {

namespace {

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

void keep_icmp_errors(int fd, bool v6, int on) {
  set_option(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVERR : IP_RECVERR, on);
}

int take_socket_error(int fd) {
  int errno_value = 0;
  socklen_t bytes = sizeof errno_value;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno_value, &bytes);
  return errno_value;
}

// The kernel has sent the SYN again, and none of those left this host.
bool is_held_back(int fd) {
  tcp_info info{};
  socklen_t bytes = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return false;
  return info.tcpi_state == TCP_SYN_SENT && info.tcpi_retransmits > 0 && info.tcpi_retrans == 0;
}

}  // namespace

void ConnectWatch::begin(const TcpFlow& flow, uint8_t hop_limit) {
  for (const TcpFlow& ended : std::exchange(ended_, {})) {
    const auto left = by_flow_.find(ended);
    if (left != by_flow_.end() && left->second->fd < 0) forget(left->second);
  }
  opening_ = flow;
  hop_limit_ = hop_limit;
  opened_ = false;
}

void ConnectWatch::opened(int fd) {
  if (!opening_ || fd < 0 || opened_) return;
  opened_ = true;
  if (const auto old = by_flow_.find(*opening_); old != by_flow_.end()) forget(old->second);
  const bool v6 = opening_->guest.v6;
  keep_icmp_errors(fd, v6, 1);
  if (hop_limit_ != 0) {
    set_option(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_UNICAST_HOPS : IP_TTL, hop_limit_);
  }
  connects_.push_back({*opening_, fd, loop_.clock().monotonic_ns()});
  const auto fresh = std::prev(connects_.end());
  by_flow_[*opening_] = fresh;
  by_fd_[fd] = fresh;
  if (unseen_ == connects_.end()) unseen_ = fresh;
  arm_look();
}

void ConnectWatch::closed(int fd) {
  const auto found = by_fd_.find(fd);
  if (found == by_fd_.end()) return;
  const Connects::iterator connect = found->second;
  connect->fd = -1;
  by_fd_.erase(found);
  ended_.push_back(connect->flow);  // the engine may close it before it tells the guest
}

void ConnectWatch::connected(int fd) {
  const auto found = by_fd_.find(fd);
  if (found == by_fd_.end()) return;
  keep_icmp_errors(fd, found->second->flow.guest.v6, 0);
  forget(found->second);
}

void ConnectWatch::failed(int fd) {
  const auto found = by_fd_.find(fd);
  if (found == by_fd_.end()) return;
  Connect& connect = *found->second;
  // The error first: to read the queue clears it.
  const int errno_value = take_socket_error(fd);
  connect.outcome.icmp = take_path_error(fd, connect.flow.guest.v6);
  connect.outcome.errno_value = errno_value;
  if (errno_value == 0 && connect.outcome.icmp) {
    connect.outcome.errno_value = connect.outcome.icmp->errno_value;
  }
  // An ICMP error that came while the kernel was still in connect() leaves the socket trying.
  ::shutdown(fd, SHUT_RDWR);
}

std::optional<ConnectWatch::Outcome> ConnectWatch::take(const TcpFlow& flow) {
  const auto found = by_flow_.find(flow);
  if (found == by_flow_.end()) return std::nullopt;
  Outcome outcome = std::move(found->second->outcome);
  outcome.waited_ns = loop_.clock().monotonic_ns() - found->second->start_ns;
  forget(found->second);
  return outcome;
}

void ConnectWatch::forget(Connects::iterator connect) {
  if (unseen_ == connect) ++unseen_;
  by_flow_.erase(connect->flow);
  if (connect->fd >= 0) by_fd_.erase(connect->fd);
  connects_.erase(connect);
}

void ConnectWatch::arm_look() {
  if (look_ != 0 || unseen_ == connects_.end()) return;
  look_ = loop_.at(unseen_->start_ns + kLook_ns, [this] { look(); });
}

void ConnectWatch::look() {
  look_ = 0;
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  while (unseen_ != connects_.end() && unseen_->start_ns + kLook_ns <= now_ns) {
    look_at(*unseen_++);
  }
  arm_look();
}

void ConnectWatch::look_at(Connect& connect) {
  if (connect.fd < 0 || !is_held_back(connect.fd)) return;
  connect.outcome.reason = on_held_back_(connect.flow);
  if (connect.outcome.reason) ::shutdown(connect.fd, SHUT_RDWR);  // epoll will say so
}

}  // namespace netstack
