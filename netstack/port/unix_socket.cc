// UNIX sockets with names, and how to start where another switch once died.
//
//   bind DIR/000.PID ─► listen ─► link to DIR/ctl ─► unlink DIR/000.PID
//                                    │ exists already
//                                    └─► connect to it: answers → Error; refuses → unlink, again
//
// bind(2) makes the file and listen(2) comes after it: between the two, a client that waited for
// the file gets ECONNREFUSED. On a busy machine that window is as long as a time slice. So the
// socket is bound under a name of its own and given its real one, atomically, when it answers.
// link(2) and not rename(2), because link fails where rename would replace a live switch's socket.
//
// The file mode is set on the socket before bind, which makes the file with it (less the umask),
// so there is no moment at which a stranger may open it; chmod(2) then adds what the umask took.
#include "netstack/port/unix_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "netstack/base/error.h"

namespace netstack {
namespace {

constexpr int kBacklog = 128;  // clients that may wait for one tick of the loop

Fd open_socket(int type) {
  return Fd(::socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

int bind_with_mode(int fd, const std::string& path, mode_t mode) {
  const sockaddr_un address = unix_address(path);
  ::fchmod(fd, mode);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return errno;
  if (::chmod(path.c_str(), mode) == 0) return 0;
  const int refusal = errno;
  ::unlink(path.c_str());
  return refusal;
}

// Another name beside `path`. Where it takes more room than a socket's path has, though `path` does
// not, the directory goes by the name of a descriptor.
struct Staging {
  explicit Staging(const std::string& path_of_socket) {
    const size_t slash = path_of_socket.rfind('/');
    const std::string before =
        slash == std::string::npos ? "" : path_of_socket.substr(0, slash + 1);
    path = fmt::format("{}000.{}", before, ::getpid());
    if (path.size() <= kSocketPathMax_size) return;
    directory = Fd(::open(before.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
      throw host_error(errno, "listen at " + path_of_socket, "make its directory first",
                       EX_CANTCREAT);
    }
    path = fmt::format("/proc/self/fd/{}/000.{}", directory.get(), ::getpid());
  }
  std::string path;
  Fd directory;
};

// Gives the socket file `from` the name `to`, in place of a dead socket if need be.
void name_socket(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return;
  if (errno == EEXIST) {
    switch (probe_socket(to, SOCK_STREAM)) {
      case SocketState::kAlive:
        throw Error(EX_CANTCREAT, fmt::format("cannot listen at {}: it is in use by a running "
                                              "switch; stop it or choose another directory",
                                              to));
      case SocketState::kForeign:
        throw Error(EX_CANTCREAT, fmt::format("cannot listen at {}: a file that is no socket of "
                                              "ours is there; move it or choose another directory",
                                              to));
      case SocketState::kDead:
        ::unlink(to.c_str());
        break;
      case SocketState::kAbsent:
        break;
    }
    if (::link(from.c_str(), to.c_str()) == 0) return;
  }
  throw host_error(errno, "listen at " + to, "choose another directory", EX_CANTCREAT);
}

}  // namespace

sockaddr_un unix_address(const std::string& path) {
  if (path.size() > kSocketPathMax_size) {
    throw Error(EX_USAGE,
                fmt::format("cannot use socket path {}: it takes {} bytes and UNIX allows "
                            "{}; choose a shorter directory",
                            path, path.size(), kSocketPathMax_size));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

void raise_send_buffer(int fd) {
  const int size = kSendBuffer_size;
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0) return;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

SocketState probe_socket(const std::string& path, int type) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? SocketState::kAbsent : SocketState::kForeign;
  }
  if (!S_ISSOCK(status.st_mode)) return SocketState::kForeign;
  const Fd fd = open_socket(type);
  if (!fd) return SocketState::kForeign;
  const sockaddr_un address = unix_address(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return SocketState::kAlive;
  }
  switch (errno) {
    case ECONNREFUSED:
      return SocketState::kDead;
    case ENOENT:
      return SocketState::kAbsent;
    case EAGAIN:      // its backlog is full
    case EPERM:       // a datagram socket that has a peer
    case EPROTOTYPE:  // open, of another type
      return SocketState::kAlive;
    default:
      return SocketState::kForeign;
  }
}

SocketFile::SocketFile(std::string path) : path_(std::move(path)) {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0) {
    path_.clear();
    return;
  }
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_) {}

SocketFile& SocketFile::operator=(SocketFile&& other) noexcept {
  if (this == &other) return *this;
  unlink_ours();
  path_ = std::exchange(other.path_, {});
  device_ = other.device_;
  inode_ = other.inode_;
  return *this;
}

SocketFile::~SocketFile() {
  unlink_ours();
}

void SocketFile::unlink_ours() noexcept {
  if (path_.empty()) return;
  struct stat status {};
  const bool ours =
      ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
  if (ours) ::unlink(path_.c_str());
}

UnixListener listen_unix(const std::string& path, mode_t mode, std::optional<gid_t> group) {
  unix_address(path);  // the user's path is named in the Error, not the staging one
  const Staging place(path);
  const std::string& staging = place.path;
  UnixListener listener{open_socket(SOCK_STREAM), {}};
  if (!listener.fd) throw host_error(errno, "make a UNIX socket", "raise `ulimit -n`");

  ::unlink(staging.c_str());  // of a process that had our id and was killed at this point
  if (const int refusal = bind_with_mode(listener.fd.get(), staging, mode); refusal != 0) {
    throw host_error(refusal, "listen at " + path, "choose a directory you may write to",
                     EX_CANTCREAT);
  }
  const SocketFile staged(staging);
  if (group && ::chown(staging.c_str(), static_cast<uid_t>(-1), *group) != 0) {
    throw host_error(errno, fmt::format("give {} to group {}", path, *group),
                     "choose a group you belong to", EX_CANTCREAT);
  }
  if (::listen(listener.fd.get(), kBacklog) != 0) {
    throw host_error(errno, "listen at " + path, "", EX_OSERR);
  }
  name_socket(staging, path);
  listener.file = SocketFile(path);
  return listener;
}

Fd connect_unix(const std::string& path) {
  const sockaddr_un address = unix_address(path);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) throw host_error(errno, "make a UNIX socket", "raise `ulimit -n`");
  limit_waiting(fd.get(), kConnect_ms);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw host_error(errno, "connect to " + path, connect_remedy(errno), EX_UNAVAILABLE);
  }
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  return fd;
}

void limit_waiting(int socket, uint64_t ms) {
  timeval limit{};
  limit.tv_sec = static_cast<time_t>(ms / 1000);
  limit.tv_usec = static_cast<suseconds_t>(ms % 1000 * 1000);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

const char* connect_remedy(int errno_value) {
  switch (errno_value) {
    case EAGAIN:
      return "it is there, and as many clients as it takes wait to be let in: try again, or see "
             "whether the switch is stopped";
    case EACCES:
    case EPERM:
      return "its mode says who may: whoever started its switch, or anybody a vde_switch --mode "
             "lets in";
    default:
      return "is the switch running?";
  }
}

int bind_datagram(int fd, const std::string& path, mode_t mode, SocketFile& file) {
  ::unlink(path.c_str());
  const int refusal = bind_with_mode(fd, path, mode);
  if (refusal == 0) file = SocketFile(path);
  return refusal;
}

}  // namespace netstack
