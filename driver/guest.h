#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "driver/spawn.h"
#include "driver/watchman.h"
#include "netstack/base/fd.h"
#include "netstack/base/log.h"
#include "netstack/loop/loop.h"

namespace driver {

constexpr uint64_t kEndGrace_ns = 5 * netstack::kSecond_ns;       // SIGTERM to SIGKILL, the guest
constexpr uint64_t kLeftoverGrace_ns = 2 * netstack::kSecond_ns;  // the same, what it started
constexpr uint64_t kLeftoverBound_ns = 4 * netstack::kSecond_ns;  // then they are named and left
constexpr uint64_t kLeftoverLook_ns = 20 * netstack::kMillisecond_ns;

struct GuestCommand {
  std::string program;                     // the path to execute
  std::vector<std::string> argv;           // argv[0] as the user gave it
  std::vector<netstack::Fd> inherited;     // closed here once the guest has them
  bool output_to_stderr = false;           // standard output is somebody else's, a capture's say
  std::function<void()> when_killed = {};  // by SIGKILL: another process cleans up after us
};

// A running guest: one child process, and whatever that starts. All of it ends before on_exit is
// called, before this object is gone, and when this process dies in any way.
//
//   state      │ the child │ its descendants             │ end() does            │ leaves when
//   ───────────┼───────────┼─────────────────────────────┼───────────────────────┼──────────────────
//   kRunning   │ alive     │ any                         │ SIGTERM, then SIGKILL │ the child ended
//   kLeftovers │ reaped    │ ours, asked to end, killed  │ SIGKILL               │ none is left
//   kGone      │ reaped    │ none                        │ nothing               │ never
//
// The process must have no other children while a guest exists: those would be taken for the
// guest's. Call from the main thread.
class Guest {
 public:
  // Starts it. Throws netstack::Error. `on_exit` runs once, from the loop, with exit_status().
  Guest(netstack::Loop& loop, netstack::Log& log, GuestCommand command,
        std::function<void(int exit_status)> on_exit);
  ~Guest();  // kills what still runs
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Asks it to end, and insists after kEndGrace_ns; a second call insists at once.
  void end();

  pid_t pid() const { return child_.pid; }

 private:
  enum class State : uint8_t { kRunning, kLeftovers, kGone };

  void child_ended();
  void end_leftovers();
  void kill_everything();
  std::vector<pid_t> reap_and_list();
  void signal_child(int signal);
  void finish();

  netstack::Loop& loop_;
  netstack::Log& log_;
  std::function<void(int)> on_exit_;
  State state_ = State::kRunning;
  int exit_status_ = 0;
  bool asked_to_end_ = false;
  netstack::Loop::TimerId timer_ = 0;

  std::set<pid_t> told_;  // leftovers that got their SIGTERM
  uint64_t leftovers_since_ns_ = 0;
  bool insist_ = false;

  // Orphans below this process become its children while this lives.
  class Subreaper {
   public:
    Subreaper();
    ~Subreaper();

   private:
    int before_ = 0;
  };
  Subreaper subreaper_;
  Watchman watchman_;
  Spawned child_;
};

// What a shell would say: the exit code, or 128 + signal. `status` as from waitpid(2).
int exit_status(int status);

}  // namespace driver
