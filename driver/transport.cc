#include "driver/transport.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "netstack/base/error.h"

namespace driver {

// Theory. QEMU's stream netdev (since 7.2) speaks Ethernet frames, each behind a 32-bit big-endian
// length, over any connected stream socket, and takes that socket as an inherited descriptor. So
// lanyard makes the connection and QEMU only uses it: errors are ours to explain, no path needs to
// survive QEMU's option parser, and when either side dies the other sees the socket close.
//
// Refused: letting QEMU connect to a path (a private LAN would need a directory, which a SIGKILL
// leaves behind); a tap (needs privileges).

using netstack::Error;
using netstack::Fd;
using netstack::host_error;

namespace {

Attachment stream_over(Fd socket) {
  Attachment attachment;
  attachment.netdev =
      fmt::format("stream,server=off,addr.type=fd,addr.str={}", std::as_const(socket).get());
  attachment.inherited.push_back(std::move(socket));
  return attachment;
}

}  // namespace

PrivatePlug plug_privately() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw host_error(errno, "make a socket pair for the guest", "raise `ulimit -n`");
  }
  Fd ours(ends[0]);
  Fd guest(ends[1]);
  if (::fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0) {
    throw host_error(errno, "make the guest's socket non-blocking", "");
  }
  return {std::move(ours), stream_over(std::move(guest))};
}

Attachment plug_into_lan(const std::string& directory) {
  const std::string path = directory + "/stream";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  constexpr size_t kPathBytesMax = sizeof address.sun_path - 1;
  if (path.size() > kPathBytesMax) {
    throw Error(EX_USAGE,
                fmt::format("cannot join the LAN at {}: {}/stream is {} bytes long and a UNIX "
                            "socket's path holds {}; choose a shorter directory",
                            directory, directory, path.size(), kPathBytesMax));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) throw host_error(errno, "make a socket", "raise `ulimit -n`");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    const bool absent = error == ENOENT || error == ECONNREFUSED || error == ENOTDIR;
    throw host_error(error, fmt::format("join the LAN at {}", directory),
                     absent ? fmt::format("start it with: lanyard switch {}", directory)
                            : fmt::format("check who may use {}", path),
                     EX_UNAVAILABLE);
  }
  return stream_over(std::move(socket));
}

}  // namespace driver
