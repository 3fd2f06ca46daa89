#pragma once

#include <sys/stat.h>
#include <sys/un.h>

#include <optional>
#include <string>

#include "netstack/base/fd.h"

namespace netstack {

// sockaddr_un::sun_path less its terminating NUL. unix(7).
constexpr size_t kSocketPathMax_size = sizeof(sockaddr_un::sun_path) - 1;

// The most bytes we ask the kernel to hold per socket on their way to the peer; the kernel doubles
// the number for its own bookkeeping. A VDE data socket queues in its sender's buffer alone: with
// Linux's default of 212,992 that is 93 frames of 1514 bytes, less than one TCP window.
constexpr int kSendBuffer_size = 1 << 20;

// Fills in the address. Throws Error when the path is longer than kSocketPathMax_size.
sockaddr_un unix_address(const std::string& path);

// Asks for kSendBuffer_size, beyond net.core.wmem_max where we have CAP_NET_ADMIN, else as far as
// the kernel allows. Less is a shallower queue and no failure.
void raise_send_buffer(int fd);

// What a socket file's path leads to.
enum class SocketState {
  kAbsent,   // no such file
  kAlive,    // a process has it open
  kDead,     // a socket file without its process
  kForeign,  // no socket at all, or one we may not touch
};
SocketState probe_socket(const std::string& path, int type);  // type: SOCK_STREAM or SOCK_DGRAM

// A socket's name in the file system, removed when this goes out of scope, unless somebody has put
// another file there since.
class SocketFile {
 public:
  SocketFile() = default;
  explicit SocketFile(std::string path);  // a file that exists
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&& other) noexcept;
  ~SocketFile();

  const std::string& path() const { return path_; }

 private:
  void unlink_ours() noexcept;

  std::string path_;  // empty: nothing to remove
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// A listening UNIX stream socket (non-blocking, close-on-exec) and its file.
struct UnixListener {
  Fd fd;
  SocketFile file;
};

// Binds `path` with the given file mode, whatever the umask is, and group, if one is given. The
// file appears only once the socket listens, so whoever sees it may connect. A file left behind by
// a switch that was killed is replaced; a live one is an Error. Throws Error (EX_USAGE: path too
// long; EX_CANTCREAT).
UnixListener listen_unix(const std::string& path, mode_t mode = 0600,
                         std::optional<gid_t> group = std::nullopt);

constexpr uint64_t kConnect_ms = 5000;  // for one that listens and has its backlog full

// Connects to a listening UNIX stream socket; the result is non-blocking and close-on-exec. Waits
// while others do, at most kConnect_ms. Throws Error (EX_UNAVAILABLE).
Fd connect_unix(const std::string& path);

// Lets each send, receive and connect of a blocking socket take that long at most.
void limit_waiting(int socket, uint64_t ms);

// What to do about a connect(2) that was refused so.
const char* connect_remedy(int errno_value);

// Binds a datagram socket to `path` with the given file mode, replacing whatever file is there.
// Returns 0, or errno with nothing bound.
int bind_datagram(int fd, const std::string& path, mode_t mode, SocketFile& file);

}  // namespace netstack
