#include "netstack/base/read_text.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "netstack/base/fd.h"

namespace netstack {

namespace {

constexpr int kForEver_ms = -1;  // as poll(2) takes it

int left_ms(Clock& clock, uint64_t deadline_ns) {
  if (deadline_ns == kNoDeadline_ns) return kForEver_ms;
  const uint64_t now_ns = clock.monotonic_ns();
  const uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
  return static_cast<int>(std::min<uint64_t>(left_ns / kMillisecond_ns, INT_MAX));
}

}  // namespace

// A FIFO whose first writer is still to come reads as an empty file, and poll(2) waits for it; one
// that its writer has left hangs up.
int read_text(const std::string& path, std::string& text, size_t size_max, Clock& clock,
              uint64_t deadline_ns) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return errno;
  pollfd source{fd.get(), POLLIN, 0};
  bool silent = ::poll(&source, 1, 0) == 0;
  for (;;) {
    std::array<char, 4096> piece;
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno != EINTR && errno != EAGAIN) return errno;
    if (got == 0 && !silent) return 0;
    if (got == 0 && deadline_ns == kNoDeadline_ns) return ENXIO;
    if (got > 0) text.append(piece.data(), static_cast<size_t>(got));
    if (text.size() > size_max) return EFBIG;
    const int ready = ::poll(&source, 1, left_ms(clock, deadline_ns));
    if (ready == 0) return ETIMEDOUT;
    if (got < 0 || ready > 0) silent = false;
  }
}

}  // namespace netstack
