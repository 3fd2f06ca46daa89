#include "driver/transport.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "driver/option_list.h"
#include "netstack/base/error.h"

namespace driver {

// Theory. QEMU's stream netdev (since 7.2) speaks Ethernet frames, each behind a 32-bit big-endian
// length, over any connected stream socket, and takes that socket as an inherited descriptor. So
// lanyard makes the connection and QEMU only uses it: errors are ours to explain, no path needs to
// survive QEMU's option parser, and when either side dies the other sees the socket close.
//
// vhost-user into a private LAN is the same. Into a LAN with a directory QEMU is given the path,
// because only so can it connect again after the LAN's restart; a QEMU that is to connect again
// also waits for ever at its start where nobody listens, so a connection is tried before.
//
// Refused: a directory for a private LAN, which a SIGKILL leaves behind; a tap (needs privileges).

using netstack::Error;
using netstack::Fd;
using netstack::host_error;

namespace {

constexpr size_t kPathSize_max = sizeof(sockaddr_un::sun_path) - 1;
constexpr unsigned kReconnect_s = 1;  // between two attempts of QEMU to connect again

std::string socket_path(const std::string& directory, Transport transport) {
  return directory + (transport == Transport::kVhostUser ? "/vhost-user"
                      : transport == Transport::kStream  ? "/stream"
                                                         : "/ctl");
}

// What QEMU is told must hold whatever its working directory becomes.
std::string absolute(const std::string& path) {
  std::error_code error;
  const std::filesystem::path result = std::filesystem::absolute(path, error);
  return error ? path : result.string();
}

Attachment stream_over(Fd socket) {
  Attachment attachment;
  attachment.netdev =
      fmt::format("stream,server=off,addr.type=fd,addr.str={}", std::as_const(socket).get());
  attachment.inherited.push_back(std::move(socket));
  return attachment;
}

// Above the standard descriptors, which a caller may have closed.
Fd unix_socket() {
  const Fd low(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd socket(low ? ::fcntl(low.get(), F_DUPFD_CLOEXEC, 3) : -1);
  if (!socket) throw host_error(errno, "make a socket", "raise `ulimit -n`");
  return socket;
}

void set_non_blocking(const Fd& socket) {
  if (::fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0) {
    throw host_error(errno, "make the guest's socket non-blocking", "");
  }
}

Fd connect_to_lan(const std::string& directory, Transport transport) {
  const std::string path = socket_path(directory, transport);
  if (path.size() > kPathSize_max) {
    throw Error(EX_USAGE, fmt::format("cannot join the LAN at {}: {} is {} bytes long and a UNIX "
                                      "socket's path holds {}; choose a shorter directory",
                                      directory, path, path.size(), kPathSize_max));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd socket = unix_socket();
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    const bool absent = error == ENOENT || error == ECONNREFUSED || error == ENOTDIR;
    throw host_error(error, fmt::format("join the LAN at {}", directory),
                     absent ? fmt::format("start it with: lanyard switch {}", directory)
                            : fmt::format("check who may use {}", path),
                     EX_UNAVAILABLE);
  }
  return socket;
}

PrivatePlug connect_privately() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw host_error(errno, "make a socket pair for the guest", "raise `ulimit -n`");
  }
  Fd ours(ends[0]);
  Fd guest(ends[1]);
  set_non_blocking(ours);
  return {std::move(ours), stream_over(std::move(guest))};
}

std::string temporary_folder() {
  const char* named = std::getenv("TMPDIR");
  return named != nullptr && *named != '\0' ? named : "/tmp";
}

std::string random_name() {
  std::array<uint64_t, 2> bits{};
  if (::getrandom(bits.data(), sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
    throw host_error(errno, "get random bytes for the guest's socket", "");
  }
  return fmt::format("lanyard-{:016x}{:016x}", bits[0], bits[1]);
}

// Binds `socket` to a file that has lost its name when this returns: an O_PATH descriptor of it.
Fd bind_without_name(const Fd& socket) {
  const std::string folder = temporary_folder();
  const auto failure = [&] {
    return host_error(errno, "make the guest's socket in " + folder,
                      "let TMPDIR be a folder that can be written to");
  };
  const Fd directory(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) throw failure();
  const std::string name = random_name();
  sockaddr_un address{};  // by way of the descriptor, however long the folder's path is
  address.sun_family = AF_UNIX;
  fmt::format_to_n(address.sun_path, kPathSize_max, "/proc/self/fd/{}/{}", directory.get(), name);
  ::fchmod(socket.get(), S_IRUSR | S_IWUSR);  // before it has a file, so the file begins so
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw failure();
  }
  Fd file(::openat(directory.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  const int error = errno;
  ::unlinkat(directory.get(), name.c_str(), 0);
  errno = error;
  if (!file) throw failure();
  return file;
}

PrivatePlug listen_privately() {
  PrivatePlug plug;
  plug.ours = unix_socket();
  Fd file = bind_without_name(plug.ours);
  if (::listen(plug.ours.get(), 1) != 0) throw host_error(errno, "listen for the guest", "");
  set_non_blocking(plug.ours);
  plug.guest.transport = Transport::kVhostUser;
  plug.guest.netdev = "vhost-user";
  plug.guest.chardev = fmt::format("socket,path=/proc/self/fd/{}", std::as_const(file).get());
  plug.guest.inherited.push_back(std::move(file));
  return plug;
}

}  // namespace

PrivatePlug plug_privately(Transport transport) {
  return transport == Transport::kVhostUser ? listen_privately() : connect_privately();
}

LanSockets lan_sockets(const std::string& directory) {
  const auto there = [&](Transport transport) {
    const std::string path = socket_path(absolute(directory), transport);
    struct stat what {};
    return path.size() <= kPathSize_max && ::stat(path.c_str(), &what) == 0 &&
           S_ISSOCK(what.st_mode);
  };
  return {there(Transport::kVhostUser), there(Transport::kStream), there(Transport::kVde)};
}

Attachment plug_into_lan(const std::string& directory, Transport transport,
                         const QemuFeatures& qemu) {
  if (transport == Transport::kVde) return name_plug(directory, transport, qemu);
  Fd socket = connect_to_lan(directory, transport);
  if (transport == Transport::kStream) return stream_over(std::move(socket));
  return name_plug(directory, transport, qemu);
}

Attachment name_plug(const std::string& directory, Transport transport, const QemuFeatures& qemu) {
  Attachment attachment;
  attachment.transport = transport;
  const std::string folder = absolute(directory);
  const std::string path = escaped(socket_path(folder, transport));
  switch (transport) {
    case Transport::kVhostUser: {
      const bool in_ms = qemu.known && qemu.at_least(9, 2);
      attachment.netdev = "vhost-user";
      attachment.chardev =
          in_ms ? fmt::format("socket,path={},reconnect-ms={}", path, kReconnect_s * 1000)
                : fmt::format("socket,path={},reconnect={}", path, kReconnect_s);
      break;
    }
    case Transport::kStream:
      attachment.netdev = "stream,server=off,addr.type=unix,addr.path=" + path;
      break;
    case Transport::kVde:
      attachment.netdev = "vde,sock=" + escaped(folder);
      break;
  }
  return attachment;
}

}  // namespace driver
