#pragma once

#include <functional>
#include <memory>
#include <string>

#include "netstack/loop/loop.h"
#include "netstack/port/watched_fd.h"

namespace tools {

// Tells when the process behind a LAN's directory has ended, killed or not: whoever listens at
// DIR/ctl is asked for by SO_PEERCRED and watched by a pidfd, so no connection has to stay. Says
// nothing of a LAN that is out of sight: in another PID namespace, or one that went to the
// background after it began to listen.
class LanWatch {
 public:
  // Never throws: what cannot be watched is not. `on_end` is called once at most.
  LanWatch(netstack::Loop& loop, const std::string& directory, std::function<void()> on_end);

 private:
  std::function<void()> on_end_;
  std::unique_ptr<netstack::WatchedFd> process_;
};

}  // namespace tools
