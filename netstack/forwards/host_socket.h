#pragma once

#include <string>

#include "netstack/base/fd.h"
#include "netstack/config/host_forward.h"

namespace netstack {

// The host's side of one forward: a socket that keeps its place and listens only when told to.
// While it does not listen, clients are refused at once, and nobody else gets the place.
class HostSocket {
 public:
  static constexpr int kBacklog_count = 256;  // clients that wait to be accepted

  HostSocket() = default;
  // Binds, never blocks. One port; the kernel's choice replaces a host_port of 0 in `rule`. A UNIX
  // socket is its user's alone (mode 0600). Throws Error, which names who has the place.
  explicit HostSocket(HostForward& rule);
  ~HostSocket();
  HostSocket(HostSocket&& other) noexcept;
  HostSocket& operator=(HostSocket&& other) noexcept;

  int get() const { return fd_.get(); }
  // False: another program listens there by now, or the path is gone (errno).
  bool listen();
  void stop_listening();  // who waits to be accepted is reset

 private:
  bool bind_path();

  Fd fd_;
  bool bound_ = false;
  std::string path_;  // of a UNIX socket, removed at the end
};

}  // namespace netstack
