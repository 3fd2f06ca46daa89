// TCP. A bound socket that does not listen refuses clients. listen() opens it, shutdown(SHUT_RD)
// takes it back to bound: Linux keeps the port of a socket that was bound to a port by number (one
// the kernel chose would be lost, so that one is bound a second time by its number).
// SO_REUSEADDR is on only while it listens: on at bind(), a second program that sets it could bind
// the same place; off at listen(), the connections accepted earlier would be in its way. Where
// connections of an earlier run still linger, bind() needs it: then the place is shared until
// listen(), which fails for the second.
//
// UNIX. A listener cannot be taken back, so the socket is made anew at the same path.
#include "netstack/forwards/host_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "netstack/base/error.h"
#include "netstack/forwards/port_holder.h"

namespace netstack {

namespace {

constexpr mode_t kPathMode = 0600;
constexpr int kPortTries = 16;  // until nobody is faster to take a port the kernel chose

void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

Fd make_socket(int family, Protocol protocol) {
  const int type = protocol == Protocol::kUdp ? SOCK_DGRAM : SOCK_STREAM;
  return Fd(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

bool bind_to(const Fd& socket, const HostForward& rule, uint16_t port) {
  sockaddr_storage address{};
  const socklen_t bytes = to_sockaddr(rule.host_address, port, address);
  return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), bytes) == 0;
}

Fd bind_port(const HostForward& rule, uint16_t port) {
  Fd socket = make_socket(rule.host_address.family(), rule.protocol);
  if (!socket) return socket;
  if (rule.host_address.v6) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (bind_to(socket, rule, port)) return socket;
  if (errno != EADDRINUSE || rule.protocol == Protocol::kUdp) return Fd();
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (!bind_to(socket, rule, port)) return Fd();
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 0);
  return socket;
}

uint16_t port_of(const Fd& socket) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

Fd bind_any_port(HostForward& rule) {
  for (int i = 0; i < kPortTries; ++i) {
    Fd choice = bind_port(rule, 0);
    if (!choice) return choice;
    const uint16_t port = port_of(choice);
    choice.reset();
    if (Fd socket = bind_port(rule, port)) {
      rule.host_port = port;
      return socket;
    }
  }
  return Fd();
}

sockaddr_un path_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// A socket file that no process has any more: nobody answers, and no socket is bound to it.
bool is_left_behind(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) {
    errno = EADDRINUSE;
    return false;
  }
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = path_address(path);
  const bool refused =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED;
  const bool in_use = !refused || unix_path_in_use(path);
  errno = EADDRINUSE;  // as it was before
  return !in_use;
}

// A locked process may have been left without UNIX sockets, or without that folder.
std::string_view remedy_without_access(const HostForward& rule, bool has_socket) {
  if (!rule.is_unix()) return "choose a host port from 1024 up";
  return has_socket ? "choose a folder this user may write to and the sandbox has open"
                    : "give it at the start with --hostfwd, or start with --no-sandbox";
}

Error refusal(const HostForward& rule, int errno_value, bool has_socket) {
  const std::string tried = fmt::format("forward {}", to_string(rule));
  switch (errno_value) {
    case EADDRINUSE:
      return host_error(errno_value, tried,
                        fmt::format("{}; end it, or choose another {}", describe_holder(rule),
                                    rule.is_unix() ? "path" : "host port (0: one that is free)"));
    case EACCES:
      return host_error(errno_value, tried, std::string(remedy_without_access(rule, has_socket)));
    case EADDRNOTAVAIL:
      return host_error(errno_value, tried, "choose an address this host has");
    case EMFILE:
      return host_error(errno_value, tried, "raise `ulimit -n`");
    default:
      return host_error(errno_value, tried, "choose another place on the host");
  }
}

}  // namespace

HostSocket::HostSocket(HostForward& rule) : path_(rule.path) {
  if (rule.is_unix()) {
    bound_ = bind_path();
  } else {
    fd_ = rule.host_port == 0 ? bind_any_port(rule) : bind_port(rule, rule.host_port);
    bound_ = static_cast<bool>(fd_);
  }
  if (bound_) return;
  path_.clear();  // not ours to remove
  throw refusal(rule, errno, static_cast<bool>(fd_));
}

HostSocket::HostSocket(HostSocket&& other) noexcept
    : fd_(std::move(other.fd_)),
      bound_(std::exchange(other.bound_, false)),
      path_(std::exchange(other.path_, {})) {}

HostSocket& HostSocket::operator=(HostSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(bound_, other.bound_);
  std::swap(path_, other.path_);
  return *this;
}

HostSocket::~HostSocket() {
  if (bound_ && !path_.empty()) ::unlink(path_.c_str());
}

bool HostSocket::bind_path() {
  fd_ = make_socket(AF_UNIX, Protocol::kTcp);
  if (!fd_) return false;
  ::fchmod(fd_.get(), kPathMode);  // of the file that bind() makes
  const sockaddr_un address = path_address(path_);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd_.get(), generic, sizeof address) == 0) return true;
  if (errno == EADDRINUSE && is_left_behind(path_)) {
    ::unlink(path_.c_str());
    return ::bind(fd_.get(), generic, sizeof address) == 0;
  }
  return false;
}

bool HostSocket::listen() {
  if (!path_.empty() && !bound_ && !(bound_ = bind_path())) return false;
  set_option(fd_.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (::listen(fd_.get(), kBacklog_count) == 0) return true;
  const int errno_value = errno;
  set_option(fd_.get(), SOL_SOCKET, SO_REUSEADDR, 0);
  errno = errno_value;
  return false;
}

void HostSocket::stop_listening() {
  if (path_.empty()) {
    ::shutdown(fd_.get(), SHUT_RD);
    set_option(fd_.get(), SOL_SOCKET, SO_REUSEADDR, 0);
    return;
  }
  fd_.reset();
  ::unlink(path_.c_str());
  bound_ = bind_path();  // if it cannot be, listen() tries again
}

}  // namespace netstack
