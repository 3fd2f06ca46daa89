#include "tools/lanyard/lan_watch.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <utility>

#include "driver/pidfd.h"
#include "netstack/base/error.h"
#include "netstack/port/unix_socket.h"

namespace tools {

namespace {

// 0: unknown.
pid_t listener_of(const std::string& path) {
  try {
    const netstack::Fd fd = netstack::connect_unix(path);
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return 0;
    return peer.pid;
  } catch (const netstack::Error&) {
    return 0;  // whoever plugs in there says so
  }
}

}  // namespace

LanWatch::LanWatch(netstack::Loop& loop, const std::string& directory, std::function<void()> on_end)
    : on_end_(std::move(on_end)) {
  const pid_t pid = listener_of(directory + "/ctl");
  if (pid <= 0) return;
  netstack::Fd process = driver::open_pidfd(pid);
  if (!process) return;
  process_ =
      std::make_unique<netstack::WatchedFd>(loop, std::move(process), EPOLLIN, [this](uint32_t) {
        process_->forget();
        on_end_();
      });
}

}  // namespace tools
