#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "driver/guest.h"
#include "driver/parent_watch.h"
#include "driver/pidfd.h"
#include "driver/process_table.h"
#include "driver/terminal.h"
#include "driver/transport.h"
#include "netstack/base/error.h"
#include "netstack/loop/signal_watch.h"

namespace driver {
namespace {

using netstack::Error;
using netstack::Fd;
using netstack::Loop;
using netstack::SystemClock;
using Words = std::vector<std::string>;

class MemoryLog final : public netstack::Log {
 public:
  void line(std::string_view text) override { lines.emplace_back(text); }
  std::vector<std::string> lines;
};

struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "lanyard-driver-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return path / name; }
  std::string program(const std::string& name, const std::string& text, mode_t mode = 0755) const {
    std::ofstream(file(name)) << text;
    ::chmod(file(name).c_str(), mode);
    return file(name);
  }
  std::filesystem::path path;
};

// Bounded, so that a process that does not end fails a check instead of hanging the test.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// A zombie does not count: who reaps an orphan is not our affair.
bool runs(pid_t pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(stat, text);
  return !text.empty() && text.find(") Z ") == std::string::npos;
}

std::vector<pid_t> pids_in(const std::string& path, size_t count) {
  std::vector<pid_t> pids;
  const bool there = eventually([&] {
    pids.clear();
    std::ifstream file(path);
    for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
    return pids.size() == count;
  });
  REQUIRE(there);
  return pids;
}

std::string line_of(const std::function<void()>& attempt, int exit_code) {
  try {
    attempt();
  } catch (const Error& error) {
    CHECK(error.exit_code() == exit_code);
    return error.what();
  }
  return "no error";
}

GuestCommand shell(const std::string& script) {
  return {"/bin/sh", {"sh", "-c", script}, {}};
}

struct Run {
  explicit Run(GuestCommand command) {
    guest.emplace(loop, log, std::move(command), [this](int code) {
      ++exits;
      status = code;
      loop.stop();
    });
  }
  int wait() {
    loop.run();
    CHECK(exits == 1);
    return status;
  }
  // Turns the loop until the condition holds, so that the guest's exit is not waited for.
  template <class Condition>
  bool turn_until(Condition condition) {
    return eventually([&] {
      loop.tick(0);
      return condition();
    });
  }
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  int exits = 0;
  int status = -1;
  std::optional<Guest> guest;
};

// --- the guest's life ---------------------------------------------------------------------------

TEST_CASE("the exit status passes through") {
  CHECK(Run(shell("exit 0")).wait() == 0);
  CHECK(Run(shell("exit 7")).wait() == 7);
  CHECK(Run(shell("kill -KILL $$")).wait() == 128 + SIGKILL);
  CHECK(Run(shell("kill -SEGV $$")).wait() == 128 + SIGSEGV);
}

TEST_CASE("the guest gets its end of a private plug, and no other descriptor of ours") {
  PrivatePlug plug = plug_privately();
  const int guest_fd = plug.guest.inherited.at(0).get();
  GuestCommand command = shell(
      fmt::format("printf frames >&{}; test ! -e /proc/self/fd/{}", guest_fd, plug.ours.get()));
  command.inherited = std::move(plug.guest.inherited);
  Run run(std::move(command));
  CHECK(run.wait() == 0);
  char text[16] = {};
  CHECK(::read(plug.ours.get(), text, sizeof text) == 6);
  CHECK(std::string(text) == "frames");
  CHECK(::read(plug.ours.get(), text, sizeof text) == 0);  // no copy of the guest's end is left
}

TEST_CASE("what cannot be executed is an error, and nothing runs") {
  const TemporaryDirectory dir;
  const std::string text = dir.program("text", "no program\n");
  const std::string orphan = dir.program("orphan", "#!/absent/interpreter\n");
  CHECK(line_of(
            [&] {
              Run({text, {"text"}, {}});
            },
            126) == "cannot start text: Exec format error; begin a script with #!/bin/sh");
  CHECK(line_of(
            [&] {
              Run({orphan, {"orphan"}, {}});
            },
            126) ==
        "cannot start orphan: No such file or directory; the interpreter its first line names is "
        "missing");
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // neither the child nor the watchman is left
  CHECK(errno == ECHILD);
}

TEST_CASE("the guest gets default signals, whatever we have blocked or ignored") {
  SystemClock clock;
  Loop loop(clock);
  const netstack::SignalWatch watch(loop, netstack::kEndingSignals, [](int) {});
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  const auto term_before = ::signal(SIGTERM, SIG_IGN);
  const int by_term = Run(shell("kill -TERM $$; exit 1")).wait();
  const int by_pipe = Run(shell("kill -PIPE $$; exit 1")).wait();
  ::signal(SIGPIPE, pipe_before);
  ::signal(SIGTERM, term_before);
  CHECK(by_term == 128 + SIGTERM);
  CHECK(by_pipe == 128 + SIGPIPE);
}

TEST_CASE("end() asks, and insists when called again") {
  const TemporaryDirectory dir;
  const std::string ready = dir.file("ready");
  {
    Run run(shell(
        fmt::format("trap 'exit 9' TERM; echo $$ > {}; while :; do sleep 0.05; done", ready)));
    pids_in(ready, 1);
    run.guest->end();
    CHECK(run.wait() == 9);
  }
  std::filesystem::remove(ready);
  Run run(shell(fmt::format("trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done", ready)));
  pids_in(ready, 1);
  run.guest->end();
  run.guest->end();
  CHECK(run.wait() == 128 + SIGKILL);
}

TEST_CASE("a stopped guest can be ended") {
  Run run(shell("kill -STOP $$; exit 1"));
  REQUIRE(run.turn_until([&] {
    siginfo_t info{};
    const int flags = WSTOPPED | WNOHANG | WNOWAIT;
    return ::waitid(P_PID, static_cast<id_t>(run.guest->pid()), &info, flags) == 0 &&
           info.si_pid != 0;
  }));
  run.guest->end();
  CHECK(run.wait() == 128 + SIGTERM);
}

TEST_CASE("what a wrapper started ends with it, and its status is kept") {
  const TemporaryDirectory dir;
  const std::string file = dir.file("pids");
  // One child, one grandchild in a session of its own, and one that will not listen to SIGTERM.
  Run run(
      shell(fmt::format("sleep 1000 & echo $! >> {0};"
                        "setsid sh -c 'echo $$ >> {0}; sleep 1000; :' &"
                        "sh -c 'trap \"\" TERM; echo $$ >> {0}; while :; do sleep 1; done' &"
                        "while [ $(wc -l < {0}) -lt 3 ]; do sleep 0.01; done; exit 5",
                        file)));
  CHECK(run.wait() == 5);
  for (const pid_t pid : pids_in(file, 3)) CHECK(!runs(pid));
  CHECK(run.log.lines.empty());
  run.guest.reset();
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // and all of them are reaped
}

TEST_CASE("a guest that is destroyed leaves nothing") {
  const TemporaryDirectory dir;
  const std::string file = dir.file("pids");
  std::vector<pid_t> pids;
  {
    const Run run(shell(fmt::format("sleep 1000 & echo $! $$ > {}; wait", file)));
    pids = pids_in(file, 2);
    for (const pid_t pid : pids) CHECK(runs(pid));
  }
  for (const pid_t pid : pids) CHECK(!runs(pid));
}

TEST_CASE("when we are SIGKILLed the guest and what it started die too") {
  const TemporaryDirectory dir;
  const std::string file = dir.file("pids");
  const pid_t driver = ::fork();
  if (driver == 0) {
    Run run(shell(fmt::format("setsid sleep 1000 & echo $! $$ > {}; wait", file)));
    run.loop.run();
    ::_exit(0);
  }
  const std::vector<pid_t> pids = pids_in(file, 2);
  std::vector<pid_t> all = pids;
  for (const Process& process : descendants(driver, 0)) all.push_back(process.pid);
  CHECK(all.size() == 2 + 3);  // the shell, its sleep, the watchman
  ::kill(driver, SIGKILL);
  ::waitpid(driver, nullptr, 0);
  for (const pid_t pid : all) CHECK(eventually([&] { return !runs(pid); }));
}

TEST_CASE("a mark inside a mark keeps both") {
  ::setenv(kMarkVariable, "outer", 1);
  Words words;
  {
    const Watchman watchman;
    words = watchman.marked_environment();
  }
  ::unsetenv(kMarkVariable);
  const auto ours = [](const std::string& word) { return word.starts_with("LANYARD_GUEST="); };
  REQUIRE(std::count_if(words.begin(), words.end(), ours) == 1);
  const std::string word = *std::find_if(words.begin(), words.end(), ours);
  CHECK(word.size() == std::string("LANYARD_GUEST= outer").size() + 32);
  CHECK(word.find_first_not_of("0123456789abcdef", 14) == word.size() - 6);
  CHECK(word.ends_with(" outer"));
}

// --- who ends us --------------------------------------------------------------------------------

// In a process of its own, whose parent ends: did ParentWatch tell?
bool told_of_parents_end(bool nohup) {
  std::array<int, 2> answer{};
  REQUIRE(::pipe2(answer.data(), O_CLOEXEC) == 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    const pid_t middle = ::getpid();
    std::array<int, 2> bound{};
    (void)!::pipe(bound.data());
    if (::fork() == 0) {
      ::signal(SIGHUP, nohup ? SIG_IGN : SIG_DFL);  // these tests may be under nohup themselves
      SystemClock clock;
      Loop loop(clock);
      char told = 0;
      const ParentWatch watch(loop, [&] { told = 1; });
      const Fd parents_pidfd = open_pidfd(middle);
      (void)!::write(bound[1], "", 1);
      pollfd ended{parents_pidfd.get(), POLLIN, 0};
      ::poll(&ended, 1, -1);  // from here on every other pidfd of it is readable too
      for (int i = 0; i < 3; ++i) loop.tick(0);
      (void)!::write(answer[1], &told, 1);
      ::_exit(0);
    }
    char byte = 0;
    (void)!::read(bound[0], &byte, 1);
    ::_exit(0);
  }
  ::close(answer[1]);
  const Fd reading(answer[0]);
  ::waitpid(parent, nullptr, 0);
  char told = 7;
  CHECK(::read(reading.get(), &told, 1) == 1);
  return told == 1;
}

TEST_CASE("the end of the parent is told, unless nohup says to outlive it") {
  CHECK(told_of_parents_end(false));
  CHECK(!told_of_parents_end(true));
}

TEST_CASE("the end of the parent's thread is not the end of the parent") {
  std::array<int, 2> go{};
  REQUIRE(::pipe2(go.data(), O_CLOEXEC) == 0);
  pid_t child = 0;
  std::thread([&] {
    child = ::fork();
    if (child != 0) return;
    SystemClock clock;
    Loop loop(clock);
    bool told = false;
    const ParentWatch watch(loop, [&] { told = true; });
    char byte = 0;
    (void)!::read(go[0], &byte, 1);
    for (int i = 0; i < 3; ++i) loop.tick(0);
    ::_exit(told ? 1 : 0);
  }).join();
  CHECK(::write(go[1], "", 1) == 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(exit_status(status) == 0);
  ::close(go[0]);
  ::close(go[1]);
}

TEST_CASE("a terminal that the guest made raw is as before") {
  int ours = -1;
  int theirs = -1;
  REQUIRE(::openpty(&ours, &theirs, nullptr, nullptr, nullptr) == 0);
  const Fd terminal(theirs);
  const Fd controller(ours);
  termios before{};
  REQUIRE(::tcgetattr(theirs, &before) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    ::ioctl(theirs, TIOCSCTTY, 0);
    for (int fd = 0; fd < 3; ++fd) ::dup2(theirs, fd);
    {
      const Terminal saved;
      termios raw = before;
      ::cfmakeraw(&raw);
      ::tcsetattr(0, TCSANOW, &raw);
      ::fcntl(0, F_SETFL, ::fcntl(0, F_GETFL) | O_NONBLOCK);
    }
    ::_exit((::fcntl(0, F_GETFL) & O_NONBLOCK) == 0 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(exit_status(status) == 0);
  termios after{};
  REQUIRE(::tcgetattr(theirs, &after) == 0);
  CHECK(after.c_lflag == before.c_lflag);
  CHECK(after.c_iflag == before.c_iflag);
  CHECK(after.c_oflag == before.c_oflag);
}

}  // namespace
}  // namespace driver
