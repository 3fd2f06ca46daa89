#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/config/guest_forward.h"

namespace netstack {

// A process of its own that starts the commands, and opens the UNIX sockets, of guest forwards: the
// gateway's own process is locked in by then and may do neither. It knows its targets from the
// start and takes only their numbers, so who breaks the gateway can run nothing else.
//
//   gateway ── ask(id, index) ──► opener ─► /bin/sh -c COMMAND, connect(PATH)
//   gateway ◄─ {id, errno} and a connected socket
//
// It belongs to nobody once it runs (a child would have to be waited for), keeps none of our
// descriptors but standard error, and ends with us, however we end: then its commands get SIGTERM.
class TargetOpener {
 public:
  struct Answer {
    uint32_t id = 0;
    int errno_value = 0;  // 0: `socket` is connected, and never blocks
    Fd socket;
  };

  // Forks. Make it before the process is locked in and before there are threads. Throws Error.
  explicit TargetOpener(const std::vector<GuestForward>& targets);

  int fd() const { return channel_.get(); }  // readable: take()
  // False: it is gone, or far behind.
  bool ask(uint32_t id, uint32_t index);
  std::optional<Answer> take();  // nothing: there is none yet, or it is gone
  bool is_gone() const { return gone_; }

 private:
  Fd channel_;
  bool gone_ = false;
};

}  // namespace netstack
