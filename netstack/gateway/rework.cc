// What libslirp tells a guest about failures, put right before the guest sees it.
//
//  - A failed send becomes "net unreachable" whatever errno was: the reason and its code replace
//  it.
//  - A failed connect becomes a RST whatever errno was: unless the far end refused, an ICMP error
//    with the reason replaces it.
//  - A connection that the host has lost (ETIMEDOUT, say) becomes a FIN, as if all had been said: a
//    RST replaces it, and a line says why. Nothing is sent but what libslirp would have sent.
//  - Errors relayed from the host's sockets carry whatever address the host knew the sender by,
//    127.0.0.1 for instance, which a guest discards as a martian: an address it knows replaces it.
//    A router's own address stays: traceroute shows it.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/base/fd.h"
#include "netstack/gateway/gateway.h"
#include "netstack/reachability/judge.h"
#include "netstack/reachability/own_address.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"

namespace netstack {

namespace {

// A connect that libslirp gives up after less than this has another reason than silence.
constexpr uint64_t kPatience_ns = 10 * kSecond_ns;

IpAddress loopback(bool v6) {
  static const IpAddress kLoopback4 = *IpAddress::parse("127.0.0.1");
  static const IpAddress kLoopback6 = *IpAddress::parse("::1");
  return v6 ? kLoopback6 : kLoopback4;
}

// What a send says that an ICMP error caused, on any send after it.
bool may_be_older(int errno_value) {
  return errno_value == ECONNREFUSED || errno_value == EHOSTUNREACH || errno_value == ENETUNREACH ||
         errno_value == EMSGSIZE || errno_value == EPROTO || errno_value == ENOPROTOOPT ||
         errno_value == EOPNOTSUPP || errno_value == EACCES;
}

// The other end has ended it: a RST tells that right.
bool is_reset(int errno_value) {
  return errno_value == ECONNRESET || errno_value == EPIPE || errno_value == ECONNABORTED;
}

// With which the host's kernel gives up a connection that was open.
bool is_loss(int errno_value) {
  return errno_value == ETIMEDOUT || errno_value == EHOSTUNREACH || errno_value == ENETUNREACH ||
         errno_value == ENETDOWN || errno_value == EPROTO || errno_value == ENOPROTOOPT ||
         errno_value == EACCES || is_reset(errno_value);
}

// With which a host refuses to open a socket: it lacks something, or forbids it.
bool is_of_a_socket(int errno_value) {
  return errno_value == EMFILE || errno_value == ENFILE || errno_value == ENOBUFS ||
         errno_value == ENOMEM || errno_value == EPERM || errno_value == EACCES ||
         errno_value == EAFNOSUPPORT || errno_value == EPROTONOSUPPORT;
}

// A firewall that rejects says more than the errno of the send, to the socket that sent; the
// engine's does not pass it on. So the datagram is offered once more, from a socket of our own.
std::optional<PathError> offer_again(const GuestPacket& packet, uint16_t port) {
  const bool v6 = packet.v6();
  const Fd socket(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  sockaddr_storage to{};
  const socklen_t bytes = to_sockaddr(packet.destination, port, to);
  ::setsockopt(socket.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &on,
               sizeof on);
  const auto payload = packet.transport.subspan(kUdpHeadBytes);
  if (::sendto(socket.get(), payload.data(), payload.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&to), bytes) >= 0) {
    return std::nullopt;
  }
  return take_path_error(socket.get(), v6);
}

}  // namespace

// A UDP socket serves all that a guest's port sends, and a send reports an error that an earlier
// datagram left on it, to somebody else perhaps. The datagram has not gone out then: try once more.
void Gateway::input_udp(const GuestPacket& packet, const Target& target, std::span<uint8_t> frame) {
  sending_udp_ = true;
  int socket_errno = 0;
  for (int tries = 0; tries < 2; ++tries) {
    send_errno_ = 0;
    socket_errno = engine_.input(frame);
    if (!may_be_older(send_errno_)) break;
  }
  sending_udp_ = false;
  if (!is_of_a_socket(socket_errno)) socket_errno = 0;
  if (send_errno_ == EPERM) {
    if (const auto error = offer_again(packet, target.port)) {
      return tell(packet.path, routable_sender(error->offender), packet.source, target,
                  reachability_.explain(on_host(target), *error), packet.ip);
    }
  }
  if (send_errno_ != 0) {
    refuse(packet, target, reachability_.explain(on_host(target), send_errno_, "sendto"));
  } else if (socket_errno != 0) {
    refuse(packet, target, reachability_.explain(on_host(target), socket_errno, "socket"));
  }
}

// True: the frame has been replaced.
bool Gateway::rework_error(std::span<const uint8_t> frame, int send_errno) {
  const auto packet = parse_towards_guest(frame);
  const auto relayed = packet ? parse_relayed_error(*packet) : std::nullopt;
  if (!relayed) return false;
  if (!is_ours(relayed->sender)) {
    pass_on(*relayed);
    return true;
  }
  if (send_errno == 0) return false;  // nothing is known that the engine did not say
  if (sending_udp_) {
    send_errno_ = send_errno;
    return true;
  }
  const char* syscall = connects_.has_opened() ? "connect" : "socket";
  tell(relayed->path, own_address(relayed->guest.v6), relayed->guest, relayed->target,
       reachability_.explain(on_host(relayed->target), send_errno, syscall), relayed->quoted);
  return true;
}

// An error that came to one of the engine's sockets. The engine loses the MTU of "too big"; the
// kernel has learned it by now.
void Gateway::pass_on(const RelayedError& relayed) {
  const Target& target = relayed.target;
  const Target judged = on_host(target);
  PathError error{relayed.words, relayed.sender, 0};
  if (is_too_big(target.address.v6, error.words)) {
    error.words = too_big_words(target.address.v6, reachability_.judge_route(judged.address).mtu);
  }
  const IpAddress sender =
      is_ours(target.address) ? target.address : routable_sender(relayed.sender);
  tell(relayed.path, sender, relayed.guest, target, reachability_.explain(judged, error),
       relayed.quoted);
}

// The gateway's own address stands for the host's loopback.
Target Gateway::on_host(Target target) const {
  if (is_ours(target.address)) target.address = loopback(target.address.v6);
  return target;
}

// A guest's own refusal of what a forward brought it. Only the host's side waits for that, so it is
// told to the log and to programs.
void Gateway::take_guest_error(const GuestPacket& packet) {
  const auto error = parse_relayed_error(packet);
  if (!error || !is_ours(error->quoted_source) || error->target.address != packet.source) return;
  reasons_.tell(
      packet.source, error->target,
      {Cause::kGuestRefuses, 0,
       fmt::format("guest {} answers {} with \"{}\" (ICMP type {} code {})",
                   to_string(packet.source), to_string(error->target),
                   icmp_phrase(packet.v6(), error->words), error->words.type, error->words.code),
       "the guest's firewall, and what listens there"});
}

// What became of a connect. Nothing: a RST tells it right.
std::optional<Reason> Gateway::explain_connect(const Target& target,
                                               ConnectWatch::Outcome outcome) {
  if (outcome.reason) return std::move(outcome.reason);
  if (outcome.icmp) return reachability_.explain(target, *outcome.icmp);
  switch (outcome.errno_value) {
    case ECONNREFUSED:
    case ECONNRESET:
      return std::nullopt;
    case 0:
      if (outcome.waited_ns < kPatience_ns) return std::nullopt;
      [[fallthrough]];
    case ETIMEDOUT:
      return reachability_.explain_timeout(target, outcome.waited_ns);
    default:
      return reachability_.explain(target, outcome.errno_value, "connect");
  }
}

// A RST that stands for a connect that failed, or for one that nobody answers. True: replaced.
bool Gateway::rework_reset(std::span<const uint8_t> frame) {
  const auto packet = parse_towards_guest(frame);
  if (!packet || packet->protocol != kProtocolTcp) return false;
  const auto reset = parse_tcp(packet->transport);
  if (!reset || (reset->flags & kTcpRst) == 0) return false;
  const auto outcome = connects_.take(
      {packet->destination, packet->source, reset->destination_port, reset->source_port});
  if (!outcome) return false;
  const Target target{Protocol::kTcp, packet->source, reset->source_port};
  const auto reason = explain_connect(on_host(target), *outcome);
  if (!reason) return false;

  // Quote the SYN: it is gone, but the RST acknowledges it and so holds all that names the flow.
  const IpAddress& guest = packet->destination;
  const IpAddress& server = packet->source;
  const std::vector<uint8_t> syn = make_tcp_packet(guest, server,
                                                   {.source_port = reset->destination_port,
                                                    .destination_port = reset->source_port,
                                                    .seq = reset->ack - 1,
                                                    .flags = kTcpSyn});

  const bool remote = outcome->icmp && reason->said;
  tell(packet->path, remote ? routable_sender(outcome->icmp->offender) : own_address(guest.v6),
       guest, target, *reason, syn);
  return true;
}

// A FIN or RST by which the engine ends a connection that the host has lost. True: replaced. The
// engine gets a RST as well, since it waits for the end of a FIN now.
bool Gateway::rework_loss(std::span<const uint8_t> frame, int engine_errno) {
  if (!is_loss(engine_errno)) return false;
  const auto packet = parse_towards_guest(frame);
  if (!packet || packet->protocol != kProtocolTcp) return false;
  const auto last = parse_tcp(packet->transport);
  if (!last || (last->flags & kTcpSyn) != 0 || (last->flags & (kTcpFin | kTcpRst)) == 0) {
    return false;
  }
  const FlowKey key{packet->destination, packet->source, last->destination_port, last->source_port,
                    Protocol::kTcp};
  if (in_engine_ && *in_engine_ != key) return false;  // the errno is not of this connection
  const std::string note = tell_loss(key, engine_errno);
  stage_packet(packet->path,
               make_tcp_packet(packet->source, packet->destination,
                               {.source_port = last->source_port,
                                .destination_port = last->destination_port,
                                .seq = last->seq,
                                .ack = last->ack,
                                .flags = kTcpRst | kTcpAck}),
               note);
  if ((last->flags & kTcpFin) != 0) reset_engine(key, packet->path.guest, last->ack);
  return true;
}

// The note for the guest's RST. Of a forward's client nothing is told: it is not the guest's way
// out that failed.
std::string Gateway::tell_loss(const FlowKey& key, int errno_value) {
  Flow* flow = flows_.find(key);
  if (is_reset(errno_value) || flow == nullptr || !flow->live() || flow->inward) return {};
  const Reason reason = reachability_.explain_loss(on_host(key.target()), errno_value);
  flows_.end(*flow, errno_value == ETIMEDOUT ? FlowState::kTimedOut : FlowState::kUnreachable,
             reason.cause);
  return reasons_.tell(key.guest, key.target(), reason, "Connection reset by peer");
}

}  // namespace netstack
