#include "tools/lan/standard_descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "netstack/base/error.h"

namespace tools {

namespace {

bool output_was_closed = false;  // what stands there now is ours and takes everything

// To have enough is no failure of who writes: `lanyard ctl DIR ports | head -1` ends as cat does.
// Returns only where the signal is blocked.
void end_as_reader_left() {
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
}

}  // namespace

void open_standard_descriptors() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR);
    if (fd == STDOUT_FILENO) output_was_closed = true;
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) ::close(fd);
}

bool has_standard_output() {
  return !output_was_closed;
}

void write_out(std::string_view text) {
  if (output_was_closed) {
    errno = EBADF;
  } else if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
             std::fflush(stdout) == 0) {
    return;
  }
  if (errno == EPIPE) end_as_reader_left();
  throw netstack::host_error(errno, "write to standard output",
                             "send it where there is room and somebody who reads", EX_IOERR);
}

}  // namespace tools
