// How host sockets of any kind lead into guests, though libslirp accepts TCP and UDP on sockets it
// has bound itself.
//
// libslirp knows its sockets by their descriptor number. So it is made to open one of its own kind,
// at a port of the host's loopback nobody is told of, and dup3() puts the wanted socket in its
// place:
//
//   lead_in     listener of libslirp's  ◄─ dup3 ─ a socket that Forwards has bound, so that which
//               address, which port, when to listen and how long the queue is are decided there
//   input_instead  connection that libslirp begins for a guest, to a port where nobody is served
//                  ◄─ dup3 ─ where it really leads: a command's or a UNIX socket, …
//   hand_over   connection that libslirp has accepted from us ◄─ dup3 ─ the one to be handed over:
//               a UNIX socket, or IPv6 where the guest has IPv4. No byte passes through here
//
// Such a loopback port is open for microseconds, within one call, and one connection is taken from
// it: ours. Should another program of the host have met that moment, its connection is closed and
// the guest gets one that ends at once.
//
// Refused: libslirp's own AF_UNIX listener, which aborts the process when no descriptor is left; a
// relay, which copies each byte twice more; a listener of libslirp's that stays open for a relay,
// which every user of the host could connect to.
#include <fcntl.h>
#include <libslirp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/nat/slirp_engine.h"

namespace netstack {

namespace {

constexpr int kPortTries = 8;           // until a free port is found that nobody else takes
constexpr int kDescriptorScan = 256;    // numbers above the lowest free one: threads open some too
constexpr int kConnectionTries = 8;     // strangers that may come first
constexpr int kHandshakeWait_ms = 100;  // on the loopback; usually it is over when connect returns

// An address of one end of a socket.
struct Name {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(sockaddr_storage);

  sockaddr* generic() { return reinterpret_cast<sockaddr*>(&address); }
  uint16_t port() const {
    return ntohs(address.ss_family == AF_INET6
                     ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                     : reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  bool operator==(const Name& other) const {
    return address.ss_family == other.address.ss_family && port() == other.port() &&
           from_sockaddr(address) == from_sockaddr(other.address);
  }
};

bool is_ip(const Name& name) {
  return name.address.ss_family == AF_INET || name.address.ss_family == AF_INET6;
}

Name name_of(const IpAddress& address, uint16_t port) {
  Name name;
  name.bytes = to_sockaddr(address, port, name.address);
  return name;
}

Name local_name(int socket) {
  Name name;
  if (::getsockname(socket, name.generic(), &name.bytes) != 0) name.address.ss_family = AF_UNSPEC;
  return name;
}

Name peer_name(int socket) {
  Name name;
  if (::getpeername(socket, name.generic(), &name.bytes) != 0) name.address.ss_family = AF_UNSPEC;
  return name;
}

// Of a connection; a listener has none.
Name name_of_connected(int socket) {
  return is_ip(peer_name(socket)) ? local_name(socket) : Name{};
}

IpAddress loopback(bool v6) {
  return v6 ? *IpAddress::parse("::1") : IpAddress::v4(0x7f000001);
}

// A port of the loopback that is free at this moment; 0 with errno.
uint16_t free_port(bool v6, Protocol protocol) {
  const int type = protocol == Protocol::kUdp ? SOCK_DGRAM : SOCK_STREAM;
  const Fd socket(::socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0));
  Name name = name_of(loopback(v6), 0);
  if (!socket || ::bind(socket.get(), name.generic(), name.bytes) != 0) return 0;
  return local_name(socket.get()).port();
}

int lowest_free_descriptor() {
  const Fd probe(::dup(STDERR_FILENO));
  return probe.get();
}

// The descriptor, from `lowest` up, of which `name_at` gives `wanted`; -1.
int find_descriptor(int lowest, Name (*name_at)(int), const Name& wanted) {
  for (int fd = lowest; fd >= 0 && fd < lowest + kDescriptorScan; ++fd) {
    const Name name = name_at(fd);
    if (is_ip(name) && name == wanted) return fd;
  }
  return -1;
}

int flags_of(Protocol protocol) {
  return protocol == Protocol::kUdp ? SLIRP_HOSTFWD_UDP : 0;
}

}  // namespace

// Has libslirp listen at a free port of the loopback. Returns its descriptor; -1 with errno.
int SlirpEngine::add_listener(const IpAddress& guest, uint16_t port, Protocol protocol) {
  Name inside = name_of(guest, port);
  for (int i = 0; i < kPortTries; ++i) {
    const uint16_t at = free_port(guest.v6, protocol);
    const int lowest = lowest_free_descriptor();
    if (at == 0 || lowest < 0) return -1;
    Name outside = name_of(loopback(guest.v6), at);
    if (slirp_add_hostxfwd(slirp_, outside.generic(), outside.bytes, inside.generic(), inside.bytes,
                           flags_of(protocol)) != 0) {
      if (errno == EADDRINUSE) continue;
      return -1;
    }
    const int fd = find_descriptor(lowest, local_name, outside);
    check(fd >= 0, "libslirp's new socket is among the next descriptors");
    ::fcntl(fd, F_SETFL, O_NONBLOCK);  // its accept() must not wait for a client that has left
    forget_descriptor(fd);
    return fd;
  }
  errno = EADDRINUSE;
  return -1;
}

void SlirpEngine::remove_listener(int fd, Protocol protocol) {
  forget_descriptor(fd);
  Name name = local_name(fd);
  const int failed = slirp_remove_hostxfwd(slirp_, name.generic(), name.bytes, flags_of(protocol));
  check(failed == 0, "libslirp finds the listener it was given");
  on_activity_();
}

void SlirpEngine::lead_in(int socket, Protocol protocol, const IpAddress& guest, uint16_t port) {
  const int theirs = add_listener(guest, port, protocol);
  if (theirs < 0 || ::dup3(socket, theirs, O_CLOEXEC) < 0) {
    const int errno_value = errno;
    if (theirs >= 0) remove_listener(theirs, protocol);
    throw host_error(errno_value, "open a way into the guest", "raise `ulimit -n`");
  }
  leads_[socket] = theirs;
  on_activity_();
}

void SlirpEngine::stop_leading_in(int socket, Protocol protocol) {
  const auto found = leads_.find(socket);
  check(found != leads_.end(), "only what leads in stops leading in");
  remove_listener(found->second, protocol);
  leads_.erase(found);
}

// libslirp's own connect is let through first, so that the guest is answered whatever the target
// does by then: one that has said its word and closed is no failed connect.
bool SlirpEngine::input_instead(std::span<const uint8_t> frame, Fd target) {
  poll_if_stale();
  opened_ = -1;
  input(frame);
  if (opened_ < 0) return false;
  pollfd connecting{.fd = opened_, .events = POLLOUT, .revents = 0};
  if (::poll(&connecting, 1, kHandshakeWait_ms) == 1) serve_only(opened_, EPOLLOUT);
  if (::dup3(target.get(), opened_, O_CLOEXEC) < 0) return false;
  forget_descriptor(opened_);
  return true;
}

uint16_t SlirpEngine::hand_over(Fd connection, const IpAddress& guest, uint16_t port) {
  const int listener = add_listener(guest, port, Protocol::kTcp);
  if (listener < 0) return 0;
  uint16_t port_inside = 0;
  const int failure = call_and_replace(listener, std::move(connection), port_inside);
  remove_listener(listener, Protocol::kTcp);
  errno = failure;
  return port_inside;
}

// A socket of the loopback to call from. The guest will know the connection by its port, which the
// host takes for free again once the call is over: one that goes on in there is not to be had.
Fd SlirpEngine::make_caller(bool v6) const {
  std::array<Fd, kPortTries> callers;  // those before are kept, so that their ports are not given
  for (Fd& caller : callers) {
    Name name = name_of(loopback(v6), 0);
    caller.reset(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!caller || ::bind(caller.get(), name.generic(), name.bytes) != 0) return {};
    const uint16_t port = local_name(caller.get()).port();
    const bool taken = std::any_of(ports_inside_.begin(), ports_inside_.end(),
                                   [port](const auto& inside) { return inside.second == port; });
    if (!taken) return std::move(caller);
  }
  errno = EADDRINUSE;
  return {};
}

// Calls libslirp's listener and puts `connection` in the place of what it accepts. Returns an errno
// for the case that `port_inside` stays 0.
int SlirpEngine::call_and_replace(int listener, Fd connection, uint16_t& port_inside) {
  Name outside = local_name(listener);
  const Fd caller = make_caller(outside.address.ss_family == AF_INET6);
  if (!caller) return errno;
  if (::connect(caller.get(), outside.generic(), outside.bytes) != 0 && errno != EINPROGRESS) {
    return errno;
  }
  const Name ours = local_name(caller.get());
  for (int i = 0; i < kConnectionTries; ++i) {
    pollfd waiting{.fd = listener, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, kHandshakeWait_ms) != 1) return ETIMEDOUT;
    const int lowest = lowest_free_descriptor();
    serve_only(listener, EPOLLIN);
    if (const int accepted = find_descriptor(lowest, peer_name, ours); accepted >= 0) {
      if (::dup3(connection.get(), accepted, O_CLOEXEC) < 0) return errno;
      forget_descriptor(accepted);
      port_inside = ours.port();
      ports_inside_[accepted] = port_inside;
      return 0;
    }
    const int stranger = find_descriptor(lowest, name_of_connected, outside);
    const Fd ended(
        ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));  // not connected
    if (stranger < 0 || !ended) return EMFILE;  // what else would keep libslirp from accepting?
    ::dup3(ended.get(), stranger, O_CLOEXEC);
    forget_descriptor(stranger);
  }
  return ETIMEDOUT;
}

}  // namespace netstack
