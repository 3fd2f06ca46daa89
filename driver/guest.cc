#include "driver/guest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "driver/pidfd.h"
#include "driver/process_table.h"

namespace driver {

// Theory. Who dies, and what ends the rest:
//
//   the guest's child     its pidfd wakes the loop; descendants it left become our children
//                         (PR_SET_CHILD_SUBREAPER), so they can be listed, asked, killed, reaped
//   lanyard, in order     ~Guest
//   lanyard, by SIGKILL   the kernel SIGKILLs the child (spawn.cc); the watchman the rest
//   lanyard's parent      ParentWatch calls end()
//
// A list of processes is old when it is read, so it is read again every kLeftoverLook_ns until it
// is empty.

namespace {

// A stopped process (Ctrl-Z, a debugger's kill -STOP) acts on SIGTERM only when it continues.
void ask_to_end(pid_t pid) {
  ::kill(pid, SIGTERM);
  ::kill(pid, SIGCONT);
}

}  // namespace

int exit_status(int status) {
  return WIFSIGNALED(status) ? kExitKilled + WTERMSIG(status) : WEXITSTATUS(status);
}

Guest::Subreaper::Subreaper() {
  ::prctl(PR_GET_CHILD_SUBREAPER, &before_);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

Guest::Subreaper::~Subreaper() {
  ::prctl(PR_SET_CHILD_SUBREAPER, before_);
}

Guest::Guest(netstack::Loop& loop, netstack::Log& log, GuestCommand command,
             std::function<void(int)> on_exit)
    : loop_(loop),
      log_(log),
      on_exit_(std::move(on_exit)),
      watchman_(command.when_killed),
      child_(spawn(command.program, command.argv, watchman_.marked_environment(), command.inherited,
                   command.output_to_stderr)) {
  loop_.watch(child_.pidfd.get(), EPOLLIN, [this](uint32_t) { child_ended(); });
}

Guest::~Guest() {
  loop_.cancel(timer_);
  if (state_ != State::kGone) kill_everything();
}

void Guest::signal_child(int signal) {
  send_signal(child_.pidfd, signal);
}

void Guest::end() {
  if (state_ == State::kLeftovers) insist_ = true;
  if (state_ != State::kRunning) return;
  if (asked_to_end_) {
    signal_child(SIGKILL);
    return;
  }
  asked_to_end_ = true;
  signal_child(SIGTERM);
  signal_child(SIGCONT);
  timer_ = loop_.after(kEndGrace_ns, [this] {
    log_.line(fmt::format("the guest has not ended {} s after SIGTERM; killing it",
                          kEndGrace_ns / netstack::kSecond_ns));
    signal_child(SIGKILL);
  });
}

void Guest::child_ended() {
  int status = 0;
  if (::waitpid(child_.pid, &status, WNOHANG) != child_.pid) return;
  loop_.forget(child_.pidfd.get());
  loop_.cancel(timer_);
  exit_status_ = exit_status(status);
  state_ = State::kLeftovers;
  leftovers_since_ns_ = loop_.clock().monotonic_ns();
  end_leftovers();
}

// Reaps our children that have ended and returns what still runs.
std::vector<pid_t> Guest::reap_and_list() {
  std::vector<pid_t> running;
  for (const Process& process : descendants(::getpid(), watchman_.pid())) {
    if (!process.zombie) {
      running.push_back(process.pid);
    } else if (process.parent == ::getpid() && process.pid != child_.pid) {
      ::waitpid(process.pid, nullptr, WNOHANG);
    }
  }
  return running;
}

void Guest::end_leftovers() {
  const std::vector<pid_t> running = reap_and_list();
  const uint64_t age_ns = loop_.clock().monotonic_ns() - leftovers_since_ns_;
  if (!running.empty() && age_ns >= kLeftoverBound_ns) {
    log_.line(
        fmt::format("the guest's command left processes that cannot be ended: {}; end them "
                    "yourself",
                    fmt::join(running, " ")));
  }
  if (running.empty() || age_ns >= kLeftoverBound_ns) {
    finish();
    return;
  }
  for (const pid_t pid : running) {
    if (insist_ || age_ns >= kLeftoverGrace_ns) {
      ::kill(pid, SIGKILL);
    } else if (told_.insert(pid).second) {
      ask_to_end(pid);
    }
  }
  timer_ = loop_.after(kLeftoverLook_ns, [this] { end_leftovers(); });
}

void Guest::finish() {
  state_ = State::kGone;
  on_exit_(exit_status_);  // may destroy us
}

// Without the loop, which may be gone: only errors on the way to a running guest come here.
void Guest::kill_everything() {
  loop_.forget(child_.pidfd.get());
  if (state_ == State::kRunning) {
    signal_child(SIGKILL);
    ::waitpid(child_.pid, nullptr, 0);
  }
  for (uint64_t waited_ns = 0; waited_ns < kLeftoverBound_ns; waited_ns += kLeftoverLook_ns) {
    const std::vector<pid_t> running = reap_and_list();
    if (running.empty()) break;
    for (const pid_t pid : running) ::kill(pid, SIGKILL);
    const timespec time{0, static_cast<long>(kLeftoverLook_ns)};
    ::nanosleep(&time, nullptr);
  }
  state_ = State::kGone;
}

}  // namespace driver
