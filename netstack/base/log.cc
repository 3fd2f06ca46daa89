#include "netstack/base/log.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace netstack {

// A pipe polls writable only while at least PIPE_BUF bytes fit, so a short line cannot block.
bool FdLog::writable() const {
  pollfd p{fd_, POLLOUT, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

void FdLog::line(std::string_view text) {
  if (!writable()) {
    ++lost_count_;
    return;
  }
  constexpr size_t kLineBytesMax = 4000;  // under PIPE_BUF: one line is one atomic write
  std::string out;
  if (lost_count_ > 0) {
    out = fmt::format("{}: {} lines were lost because nobody read them\n", name_, lost_count_);
  }
  out += fmt::format("{}: {}\n", name_, text.substr(0, kLineBytesMax - out.size()));
  while (::write(fd_, out.data(), out.size()) < 0 && errno == EINTR) {
  }
  lost_count_ = 0;
}

}  // namespace netstack
