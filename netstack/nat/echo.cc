#include "netstack/nat/echo.h"

#include <linux/errqueue.h>
#include <netinet/ip.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "netstack/base/bytes.h"
#include "netstack/wire/icmp.h"

namespace netstack {

namespace {

constexpr int kRepliesPerTick = 64;
constexpr size_t kMessageBytesMax = 65'535;

std::array<uint8_t, kMessageBytesMax>& scratch() {
  thread_local std::array<uint8_t, kMessageBytesMax> bytes;
  return bytes;
}

Fd open_ping_socket(bool v6) {
  Fd socket(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                     v6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP}));
  if (!socket) return socket;
  const int on = 1;
  const int level = v6 ? SOL_IPV6 : SOL_IP;
  ::setsockopt(socket.get(), level, v6 ? IPV6_RECVERR : IP_RECVERR, &on, sizeof on);
  ::setsockopt(socket.get(), level, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, &on, sizeof on);
  return socket;
}

// Errors that concern whoever sent the packet. Redirects and source quench, say, concern this host.
bool is_for_the_sender(bool v6, uint8_t type) {
  if (v6) return type >= kIcmpv6Unreachable && type <= kIcmpv6ParameterProblem;
  return type == kIcmpUnreachable || type == kIcmpTimeExceeded || type == kIcmpParameterProblem;
}

// A received datagram with its source address and control messages.
struct Datagram {
  sockaddr_storage address{};
  iovec part{scratch().data(), scratch().size()};
  alignas(cmsghdr) std::array<uint8_t, 512> control{};
  msghdr message{};

  bool receive(int fd, int flags) {
    message.msg_name = &address;
    message.msg_namelen = sizeof address;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    bytes_ = ::recvmsg(fd, &message, flags | MSG_DONTWAIT);
    return bytes_ >= 0;
  }
  std::span<const uint8_t> bytes() const { return {scratch().data(), static_cast<size_t>(bytes_)}; }

  template <typename Value>
  const Value* find(int level, int type) {
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
      if (at->cmsg_level == level && at->cmsg_type == type) {
        return reinterpret_cast<const Value*>(CMSG_DATA(at));
      }
    }
    return nullptr;
  }

 private:
  ssize_t bytes_ = -1;
};

}  // namespace

size_t EchoProxy::KeyHash::operator()(const Key& key) const {
  uint64_t low = 0;
  uint64_t high = 0;
  std::memcpy(&low, key.guest.octets.data(), 8);
  std::memcpy(&high, key.guest.octets.data() + 8, 8);
  return std::hash<uint64_t>{}(low ^ (high * 31) ^ (uint64_t{key.id} << 17U) ^ uint64_t{key.v6});
}

EchoProxy::~EchoProxy() {
  loop_.cancel(expiry_);
  for (Session& session : sessions_) loop_.forget(session.socket.get());
}

void EchoProxy::request(const EchoRequest& request) {
  Session* session = session_for(request);
  if (session == nullptr) return refuse(request, errno, "socket");
  const auto quoted = request.packet.first(std::min(request.packet.size(), kQuotedBytesMax));
  if (session->waiting.size() == kWaitingPerSocketMax) session->waiting.pop_front();
  session->waiting.push_back({request.destination, request.seq, ++last_serial_,
                              std::vector<uint8_t>(quoted.begin(), quoted.end())});
  arm_expiry();
  const uint64_t serial = last_serial_;
  const auto still_waits = [&] {
    return !session->waiting.empty() && session->waiting.back().serial == serial;
  };
  int refused = send(*session, request);
  if (refused == 0) return;
  // A send reports an error that an earlier request left on the socket, and a firewall that rejects
  // leaves its ICMP error there besides. Take those; unless that was the answer, try once more.
  read_errors(*session);
  if (!still_waits()) return;
  refused = send(*session, request);
  if (refused == 0) return;
  read_errors(*session);
  if (!still_waits()) return;
  session->waiting.pop_back();
  refuse(request, refused, "sendto");
}

void EchoProxy::refuse(const EchoRequest& request, int errno_value, std::string_view syscall) {
  handler_.on_error(
      {.path = request.path,
       .guest = request.guest,
       .destination = request.destination,
       .quoted = request.packet.first(std::min(request.packet.size(), kQuotedBytesMax)),
       .icmp = std::nullopt,
       .errno_value = errno_value,
       .syscall = syscall});
}

EchoProxy::Session* EchoProxy::session_for(const EchoRequest& request) {
  const Key key{request.guest, request.id, request.destination.v6};
  auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    Fd socket = open_ping_socket(key.v6);
    if (!socket) return nullptr;
    if (sessions_.size() == kSocketsMax) close(sessions_.begin());
    sessions_.emplace_back();
    const auto fresh = std::prev(sessions_.end());
    fresh->key = key;
    fresh->socket = std::move(socket);
    loop_.watch(fresh->socket.get(), EPOLLIN,
                [this, fresh](uint32_t events) { on_ready(*fresh, events); });
    found = by_key_.emplace(key, fresh).first;
  }
  const Sessions::iterator session = found->second;
  sessions_.splice(sessions_.end(), sessions_, session);
  session->path = request.path;
  session->used_ns = loop_.clock().monotonic_ns();
  return &*session;
}

// 0, or the errno with which the host refused.
int EchoProxy::send(Session& session, const EchoRequest& request) {
  const bool v6 = session.key.v6;
  if (session.ttl != request.ttl) {
    session.ttl = request.ttl;
    ::setsockopt(session.socket.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_UNICAST_HOPS : IP_TTL,
                 &session.ttl, sizeof session.ttl);
  }
  if (const int whole = request.whole ? 1 : 0; session.whole != whole) {
    session.whole = whole;
    const int policy = v6 || request.whole ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
    ::setsockopt(session.socket.get(), v6 ? SOL_IPV6 : SOL_IP,
                 v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &policy, sizeof policy);
    if (v6) ::setsockopt(session.socket.get(), SOL_IPV6, IPV6_DONTFRAG, &whole, sizeof whole);
  }
  // The kernel fills in the id (its port number) and the checksum.
  std::array<uint8_t, kIcmpHeadBytes> head{};
  head[0] = v6 ? kIcmpv6EchoRequest : kIcmpEchoRequest;
  write_u16(&head[6], request.seq);
  std::array<iovec, 2> parts{
      iovec{head.data(), head.size()},
      iovec{const_cast<uint8_t*>(request.payload.data()), request.payload.size()}};
  sockaddr_storage to{};
  msghdr message{};
  message.msg_namelen = to_sockaddr(request.destination, 0, to);
  message.msg_name = &to;
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return ::sendmsg(session.socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

void EchoProxy::on_ready(Session& session, uint32_t epoll_events) {
  if ((epoll_events & EPOLLERR) != 0) read_errors(session);
  read_replies(session);
}

// Until nothing is waited for: to ask the kernel once more would say what is known.
void EchoProxy::read_replies(Session& session) {
  for (int i = 0; i < kRepliesPerTick && (i == 0 || !session.waiting.empty()); ++i) {
    Datagram datagram;
    if (!datagram.receive(session.socket.get(), 0)) return;
    const std::span<const uint8_t> message = datagram.bytes();
    const uint8_t reply_type = session.key.v6 ? kIcmpv6EchoReply : kIcmpEchoReply;
    if (message.size() < kIcmpHeadBytes || message[0] != reply_type || message[1] != 0) continue;

    const IpAddress from = from_sockaddr(datagram.address);
    const uint16_t seq = read_u16(&message[6]);
    const auto asked = std::ranges::find_if(session.waiting, [&](const Waiting& waiting) {
      return waiting.seq == seq && waiting.destination == from;
    });
    if (asked == session.waiting.end()) continue;  // not an answer to anything we asked
    session.waiting.erase(asked);

    const int* ttl = session.key.v6 ? datagram.find<int>(SOL_IPV6, IPV6_HOPLIMIT)
                                    : datagram.find<int>(SOL_IP, IP_TTL);
    handler_.on_reply({.path = session.path,
                       .guest = session.key.guest,
                       .from = from,
                       .id = session.key.id,
                       .seq = seq,
                       .ttl = ttl != nullptr ? static_cast<uint8_t>(*ttl) : uint8_t{64},
                       .payload = message.subspan(kIcmpHeadBytes)});
  }
}

void EchoProxy::read_errors(Session& session) {
  for (int i = 0; i < kRepliesPerTick && read_error(session); ++i) {
  }
}

// One entry of the error queue: the message we sent, its destination, and what became of it.
bool EchoProxy::read_error(Session& session) {
  Datagram datagram;
  if (!datagram.receive(session.socket.get(), MSG_ERRQUEUE)) return false;
  const auto* error = session.key.v6 ? datagram.find<sock_extended_err>(SOL_IPV6, IPV6_RECVERR)
                                     : datagram.find<sock_extended_err>(SOL_IP, IP_RECVERR);
  const std::span<const uint8_t> sent = datagram.bytes();
  if (error == nullptr || sent.size() < kIcmpHeadBytes) return true;

  const IpAddress destination = from_sockaddr(datagram.address);
  const uint16_t seq = read_u16(&sent[6]);
  const auto asked = std::ranges::find_if(session.waiting, [&](const Waiting& waiting) {
    return waiting.seq == seq && waiting.destination == destination;
  });
  if (asked == session.waiting.end()) return true;

  EchoError report{.path = session.path,
                   .guest = session.key.guest,
                   .destination = destination,
                   .quoted = asked->quoted,
                   .icmp = read_path_error(*error, session.key.v6),
                   .errno_value = static_cast<int>(error->ee_errno),
                   .syscall = "sendto"};
  if (report.icmp && !is_for_the_sender(session.key.v6, report.icmp->words.type)) return true;
  handler_.on_error(report);
  session.waiting.erase(asked);
  return true;
}

void EchoProxy::close(Sessions::iterator session) {
  loop_.forget(session->socket.get());
  by_key_.erase(session->key);
  sessions_.erase(session);
}

void EchoProxy::arm_expiry() {
  if (expiry_ != 0 || sessions_.empty()) return;
  expiry_ = loop_.at(sessions_.front().used_ns + kIdle_ns, [this] { expire(); });
}

void EchoProxy::expire() {
  expiry_ = 0;
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  while (!sessions_.empty() && sessions_.front().used_ns + kIdle_ns <= now_ns) {
    close(sessions_.begin());
  }
  arm_expiry();
}

}  // namespace netstack
