// One packet, one answer, within a deadline.
//
// Echo goes through a ping socket (icmp(7), SOCK_DGRAM), as in the gateway. The kernel matches
// replies to the socket by ICMP id but lets them come from anyone, so sender and sequence are
// checked here. ICMP errors arrive on the error queue (IP_RECVERR), with who sent them.
//
// The DNS query goes through a connected UDP socket: then the kernel lets in only datagrams of that
// server, and reports "port unreachable" as ECONNREFUSED at once.

#include "netstack/reachability/probe.h"

#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/fd.h"
#include "netstack/wire/dns.h"
#include "netstack/wire/icmp.h"

namespace netstack {
namespace {

constexpr uint16_t kDnsPort = 53;
constexpr uint16_t kEchoSequence = 1;
constexpr size_t kEchoPayloadSize = 56;  // what ping sends
constexpr size_t kAnswerSizeMax = 4096;
using Answer = std::array<uint8_t, kAnswerSizeMax>;

class Deadline {
 public:
  Deadline(uint64_t timeout_ns, Clock& clock)
      : clock_(clock), start_ns_(clock.monotonic_ns()), end_ns_(start_ns_ + timeout_ns) {}

  uint64_t spent_ns() const { return clock_.monotonic_ns() - start_ns_; }

  // Waits until the socket has something to say. False: the time is over.
  bool wait(int fd) const {
    for (;;) {
      const uint64_t now_ns = clock_.monotonic_ns();
      if (now_ns >= end_ns_) return false;
      const uint64_t left_ms = (end_ns_ - now_ns + kMillisecond_ns - 1) / kMillisecond_ns;
      pollfd watched{fd, POLLIN, 0};
      const int ready = ::poll(&watched, 1, static_cast<int>(left_ms));
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }

 private:
  Clock& clock_;
  uint64_t start_ns_;
  uint64_t end_ns_;
};

template <typename Probe>
Probe refused(std::string_view syscall, int errno_value) {
  Probe probe;
  probe.outcome = ProbeOutcome::kRefused;
  probe.errno_value = errno_value;
  probe.syscall = syscall;
  return probe;
}

Fd open_ping_socket(bool v6) {
  Fd socket(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                     v6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP}));
  const int on = 1;
  if (socket) {
    ::setsockopt(socket.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &on,
                 sizeof on);
  }
  return socket;
}

// Takes one ICMP error off the queue. False: there is none.
bool read_error(int fd, bool v6, EchoProbe& probe) {
  const auto error = take_path_error(fd, v6);
  if (!error) return false;
  probe.outcome = ProbeOutcome::kIcmpError;
  probe.errno_value = error->errno_value;
  probe.error = *error;
  return true;
}

// Takes one message off the socket. True: the reply from `address` to our request.
bool read_reply(int fd, const IpAddress& address) {
  Answer answer;
  sockaddr_storage from{};
  socklen_t from_size = sizeof from;
  const ssize_t size = ::recvfrom(fd, answer.data(), answer.size(), MSG_DONTWAIT,
                                  reinterpret_cast<sockaddr*>(&from), &from_size);
  if (size < 0 || from_sockaddr(from) != address) return false;
  const auto echo = parse_icmp_echo({answer.data(), static_cast<size_t>(size)}, address.v6);
  return echo && echo->reply && echo->seq == kEchoSequence;
}

// Any value will do: the socket is connected, and a forged answer would gain nothing.
constexpr uint16_t kQueryId = 0x4c59;

// Whether `answer` is a response to our query (RFC 1035 §4.1.1). The header is enough: a server
// that refuses may leave out the question, and has answered all the same.
bool is_response(const Answer& answer, size_t size, NameserverProbe& probe) {
  constexpr uint8_t kResponseBit = 0x80;
  constexpr uint8_t kCodeMask = 0x0f;
  if (size < kDnsHeadBytes || read_u16(answer.data()) != kQueryId) return false;
  probe.response_code = answer[3] & kCodeMask;
  return (answer[2] & kResponseBit) != 0;
}

}  // namespace

EchoProbe probe_echo(const IpAddress& address, uint64_t timeout_ns, Clock& clock) {
  const Fd socket = open_ping_socket(address.v6);
  if (!socket) return refused<EchoProbe>("socket", errno);
  std::array<uint8_t, kIcmpHeadBytes + kEchoPayloadSize> request{};
  request[0] = address.v6 ? kIcmpv6EchoRequest : kIcmpEchoRequest;  // the kernel fills checksum, id
  write_u16(&request[6], kEchoSequence);
  sockaddr_storage to{};
  const socklen_t to_size = to_sockaddr(address, 0, to);
  const Deadline deadline(timeout_ns, clock);
  if (::sendto(socket.get(), request.data(), request.size(), 0,
               reinterpret_cast<const sockaddr*>(&to), to_size) < 0) {
    const int errno_value = errno;
    EchoProbe rejected;  // a firewall that rejects leaves its ICMP error besides
    return read_error(socket.get(), address.v6, rejected)
               ? rejected
               : refused<EchoProbe>("sendto", errno_value);
  }
  EchoProbe probe;
  while (deadline.wait(socket.get())) {
    if (read_reply(socket.get(), address)) {
      probe.outcome = ProbeOutcome::kAnswered;
      break;
    }
    if (read_error(socket.get(), address.v6, probe)) break;
  }
  probe.took_ns = deadline.spent_ns();
  return probe;
}

NameserverProbe probe_nameserver(const Nameserver& server, uint64_t timeout_ns, Clock& clock) {
  const Fd socket(::socket(server.address.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return refused<NameserverProbe>("socket", errno);
  sockaddr_storage to{};
  const socklen_t to_size = to_sockaddr(server.address, kDnsPort, to);
  if (server.address.v6 && !server.scope.empty()) {
    reinterpret_cast<sockaddr_in6&>(to).sin6_scope_id = ::if_nametoindex(server.scope.c_str());
  }
  const auto query = make_dns_query(".", DnsType::kA, kQueryId);
  check(query.has_value(), "the root is a name");
  const Deadline deadline(timeout_ns, clock);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), to_size) != 0) {
    return refused<NameserverProbe>("connect", errno);
  }
  if (::send(socket.get(), query->data(), query->size(), 0) < 0) {
    return refused<NameserverProbe>("send", errno);
  }
  NameserverProbe probe;
  while (deadline.wait(socket.get())) {
    Answer answer;
    const ssize_t size = ::recv(socket.get(), answer.data(), answer.size(), MSG_DONTWAIT);
    if (size < 0 && errno != EAGAIN && errno != EINTR) {
      return refused<NameserverProbe>("recv", errno);
    }
    if (size >= 0 && is_response(answer, static_cast<size_t>(size), probe)) {
      probe.outcome = ProbeOutcome::kAnswered;
      break;
    }
  }
  probe.took_ns = deadline.spent_ns();
  return probe;
}

}  // namespace netstack
