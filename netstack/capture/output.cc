#include "netstack/capture/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "netstack/base/clock.h"
#include "netstack/base/error.h"
#include "netstack/base/number.h"

namespace netstack {

// Theory. write(2) may block for two reasons. A disk may be slow: nothing can be done about that,
// and it is why a thread of its own does the writing. A reader of a pipe may have stopped: then we
// wait in poll(2), which stop() can end, and never in write(2). A FIFO is opened non-blocking. A
// descriptor that the user gave us is shared with others (the guest's standard output, say), who
// would be surprised by O_NONBLOCK; a pipe that polls writable takes PIPE_BUF bytes without
// blocking, so such a descriptor gets pieces of that size.
//
// A file that was there before is not emptied until it has taken the first bytes, a capture's
// header, in the place of its own first ones: a full disk refuses those whole, and harms nothing.
//
// Two writers of one file would make it unreadable for both. flock(2) keeps them apart: it is taken
// before the file is written to, and the kernel gives it back however we end. Children that are
// started while the capture runs close the descriptor on exec. (A lock file would be left behind by
// a SIGKILL; a record lock is lost when anything in this process opens and closes the file.)
//
// Real time is used for the wait, not an injected clock: it bounds how long the process takes to
// end.

namespace {

uint64_t now_ns() {
  SystemClock clock;
  return clock.monotonic_ns();
}

}  // namespace

std::optional<int> given_descriptor(std::string_view path) {
  if (path == "-" || path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view prefix : {"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"}) {
    if (!path.starts_with(prefix)) continue;
    const auto fd = parse_number<int>(path.substr(prefix.size()));
    if (fd && *fd >= 0) return fd;
  }
  return std::nullopt;
}

std::optional<int> given_flags(int fd) {
  const int on_exec = ::fcntl(fd, F_GETFD);
  if (on_exec < 0 || (on_exec & FD_CLOEXEC) != 0) return std::nullopt;
  const int flags = ::fcntl(fd, F_GETFL);
  return flags < 0 ? std::nullopt : std::optional(flags);
}

bool is_standard_output(std::string_view path) {
  return given_descriptor(path) == STDOUT_FILENO;
}

Output::Output(const std::string& path, Content content)
    : path_(path), content_(content), stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_event_) throw host_error(errno, "make an event descriptor", "raise `ulimit -n`");
  const auto given = given_descriptor(path);
  if (given) {
    adopt(*given);
  } else {
    create();
  }
  struct stat what {};
  if (::fstat(fd_.get(), &what) != 0) throw open_error(errno);
  regular_ = S_ISREG(what.st_mode);
  waits_for_reader_ = S_ISFIFO(what.st_mode) || S_ISSOCK(what.st_mode);
  if (regular_ && !given) take_over();
}

Output::~Output() {
  if (!made_.empty()) ::unlink(made_.c_str());
}

Error Output::open_error(int error) const {
  const std::string tried =
      fmt::format("write {}{}", content_ == Content::kCapture ? "capture " : "", path_);
  struct stat what {};
  if (error == ENXIO && ::stat(path_.c_str(), &what) == 0 && S_ISFIFO(what.st_mode)) {
    return Error(EX_CANTCREAT,
                 fmt::format("cannot {}: nobody reads this FIFO; start its reader first", tried));
  }
  const char* remedy = "choose another file";
  if (error == ENOENT) remedy = "make its directory first";
  if (error == EISDIR) remedy = "name a file in it";
  if (error == EACCES || error == EROFS) remedy = "choose a place you may write to";
  return host_error(error, tried, remedy, EX_CANTCREAT);
}

void Output::adopt(int fd) {
  const auto flags = given_flags(fd);
  if (!flags || (*flags & O_ACCMODE) == O_RDONLY) throw open_error(EBADF);
  fd_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!fd_) throw open_error(errno);
  if (content_ == Content::kCapture && ::isatty(fd_.get()) == 1) {
    throw Error(EX_CANTCREAT,
                fmt::format("cannot write capture {}: it is a terminal; redirect it, for example "
                            "to `tcpdump -r -`",
                            path_));
  }
  piece_size_max_ = PIPE_BUF;
}

void Output::create() {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  fd_.reset(::open(path_.c_str(), kFlags | O_EXCL, 0644));
  if (fd_) {
    made_ = path_;
    return;
  }
  if (errno == EEXIST) fd_.reset(::open(path_.c_str(), kFlags, 0644));
  if (!fd_) throw open_error(errno);
}

// A file system without locks lets everybody write, as it always has.
void Output::take_over() {
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error(EX_CANTCREAT,
                fmt::format("cannot write capture {}: another capture is being written to it; "
                            "choose another file, or end that one first",
                            path_));
  }
  is_old_ = true;
}

bool Output::out_of_time() const {
  return now_ns() >= deadline_ns_.load();
}

void Output::stop(uint64_t grace_ns) {
  deadline_ns_ = now_ns() + grace_ns;
  const uint64_t one = 1;
  while (::write(stop_event_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

// False: the time is over.
bool Output::wait_writable() {
  for (;;) {
    const uint64_t deadline_ns = deadline_ns_.load();
    const bool stopped = deadline_ns != kNever;
    const uint64_t now = now_ns();
    if (now >= deadline_ns) return false;
    std::array<pollfd, 2> fds{{{fd_.get(), POLLOUT, 0}, {stop_event_.get(), POLLIN, 0}}};
    const int wait_ms =
        stopped ? static_cast<int>((deadline_ns - now) / kMillisecond_ns) + 1 : int{-1};
    ::poll(fds.data(), stopped ? 1 : 2, wait_ms);
    if (fds[0].revents != 0) return true;  // also errors: write(2) tells which
  }
}

Output::Written Output::write(std::span<const uint8_t> bytes) {
  return is_old_ ? replace(bytes) : put(bytes);
}

// A limit of file sizes would cut them in two.
Output::Written Output::replace(std::span<const uint8_t> bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes.size()) return {0, EFBIG};
  const Written done = put(bytes);
  if (done.size < bytes.size()) return done;
  is_old_ = false;
  if (::ftruncate(fd_.get(), static_cast<off_t>(done.size)) != 0) return {0, errno};
  return done;
}

Output::Written Output::put(std::span<const uint8_t> bytes) {
  Written done;
  while (done.size < bytes.size()) {
    if (!regular_ && !wait_writable()) {
      done.error = ETIMEDOUT;
      break;
    }
    const size_t piece =
        regular_ ? bytes.size() - done.size : std::min(bytes.size() - done.size, piece_size_max_);
    const ssize_t took = ::write(fd_.get(), bytes.data() + done.size, piece);
    if (took > 0) {
      done.size += static_cast<size_t>(took);
    } else if (took < 0 && errno != EINTR && errno != EAGAIN) {
      done.error = errno;
      break;
    }
  }
  return done;
}

bool Output::take_back(size_t size) {
  if (size == 0) return true;
  if (!regular_) return false;
  const off_t end = ::lseek(fd_.get(), -static_cast<off_t>(size), SEEK_CUR);
  return end >= 0 && ::ftruncate(fd_.get(), end) == 0;
}

}  // namespace netstack
