#include "driver/watchman.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "driver/pidfd.h"
#include "driver/process_table.h"
#include "netstack/base/clock.h"
#include "netstack/base/error.h"
#include "netstack/base/fd.h"

namespace driver {

// Theory. When lanyard is SIGKILLed, the kernel kills its direct child for us (PR_SET_PDEATHSIG).
// But that is QEMU only if the user's command is QEMU; a script that starts QEMU dies and leaves it
// behind, unrelated to anybody. Two things survive in such an orphan that nobody else has: its
// environment, where we put a random mark, and the watchman, who looks for it.
//
// Alternatives refused: a PID namespace (needs privileges or user namespaces, and changes what the
// guest's command sees); a process group or session of its own (the guest must share our terminal);
// a supervisor between us and the guest (the guest would no longer be our child, which is what
// people's own tools look for). Limit: a command that clears the environment of what it starts, or
// starts it as another user, gets past the mark.

using netstack::Fd;
using netstack::host_error;

namespace {

void sleep_ns(uint64_t time_ns) {
  const timespec time{0, static_cast<long>(time_ns)};
  ::nanosleep(&time, nullptr);
}

// In its own session it gets no signal that is meant for our group or terminal; it holds no
// descriptor of ours (a pipe's reader would wait for it) and no directory.
void stand_apart(int watched) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::setsid();
  ::prctl(PR_SET_NAME, "guest-watchman");
  (void)!::chdir("/");
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
  if (watched != 3) ::dup2(watched, 3);
  ::close_range(4, ~0U, 0);
}

[[noreturn]] void keep_watch(int watched, std::string_view mark,
                             const std::function<void()>& afterwards) {
  stand_apart(watched);
  pollfd gone{3, POLLIN, 0};
  while (::poll(&gone, 1, -1) < 0 && errno == EINTR) {
  }
  netstack::SystemClock clock;
  const uint64_t deadline_ns = clock.monotonic_ns() + kWatchmanBound_ns;
  while (clock.monotonic_ns() < deadline_ns) {
    const std::vector<pid_t> left = marked(mark);
    if (left.empty()) break;
    for (const pid_t pid : left) ::kill(pid, SIGKILL);
    sleep_ns(5 * netstack::kMillisecond_ns);
  }
  if (afterwards) afterwards();
  ::_exit(EXIT_SUCCESS);
}

std::string random_mark() {
  std::array<uint64_t, 2> bits{};
  if (::getrandom(bits.data(), sizeof bits, 0) != sizeof bits) {
    throw host_error(errno, "get random bytes", "");
  }
  return fmt::format("{:016x}{:016x}", bits[0], bits[1]);
}

}  // namespace

Watchman::Watchman(const std::function<void()>& afterwards) : mark_(random_mark()) {
  // Of ourselves, and made before the fork: no moment in which we could die unseen.
  const Fd self = open_pidfd(::getpid());
  std::array<int, 2> ready{};
  if (!self || ::pipe2(ready.data(), O_CLOEXEC) != 0) {
    throw host_error(errno, "watch over the guest", "raise `ulimit -n`; Linux 5.3 is needed");
  }
  const Fd reading(ready[0]);
  Fd writing(ready[1]);
  pid_ = ::fork();
  if (pid_ < 0) throw host_error(errno, "watch over the guest", "raise `ulimit -u`");
  if (pid_ == 0) keep_watch(self.get(), mark_, afterwards);
  // Once its end of the pipe is closed, so are its copies of every other descriptor of ours.
  writing.reset();
  char none = 0;
  while (::read(reading.get(), &none, 1) < 0 && errno == EINTR) {
  }
}

Watchman::~Watchman() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

// The variable may hold the mark of a lanyard around us: both must be found.
std::vector<std::string> Watchman::marked_environment() const {
  std::vector<std::string> words;
  std::string value = mark_;
  const std::string prefix = fmt::format("{}=", kMarkVariable);
  for (char** word = environ; *word != nullptr; ++word) {
    const std::string_view text = *word;
    if (text.starts_with(prefix)) {
      value += fmt::format(" {}", text.substr(prefix.size()));
    } else {
      words.emplace_back(text);
    }
  }
  words.push_back(prefix + value);
  return words;
}

}  // namespace driver
