#include "driver/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "driver/pidfd.h"
#include "netstack/base/error.h"

namespace driver {

// fork and exec by hand, because posix_spawn cannot set PR_SET_PDEATHSIG, which is what ends the
// guest when we are SIGKILLed and can do nothing ourselves. Between fork and exec only calls that
// are safe in the child of a process with threads. The errno of an exec that fails comes back
// through a pipe that a successful exec closes.

using netstack::Fd;
using netstack::host_error;

namespace {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  for (const std::string& word : words) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

// The signals we block for signalfd, and those we ignore, are not the guest's affair.
// What was ignored before us stays ignored: nohup keeps its promise. But SIGTERM is how we ask.
void restore_signals() {
  sigset_t none;
  ::sigemptyset(&none);
  for (const int signal : {SIGPIPE, SIGXFSZ, SIGTERM}) ::signal(signal, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become(const char* program, char* const* argv, char* const* environment,
                         std::span<const Fd> inherited, bool output_to_stderr, pid_t parent,
                         int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(EXIT_FAILURE);  // the parent ended before the line above
  for (const Fd& fd : inherited) ::fcntl(fd.get(), F_SETFD, 0);
  if (output_to_stderr) ::dup2(STDERR_FILENO, STDOUT_FILENO);
  restore_signals();
  ::execve(program, argv, environment);
  const int error = errno;
  (void)!::write(report, &error, sizeof error);
  ::_exit(kExitProgramMissing);
}

// 0: the program runs.
int exec_error(int report) {
  int error = 0;
  ssize_t size = 0;
  do {
    size = ::read(report, &error, sizeof error);
  } while (size < 0 && errno == EINTR);
  return size == sizeof error ? error : 0;
}

}  // namespace

Spawned spawn(const std::string& program, const std::vector<std::string>& argv,
              const std::vector<std::string>& environment, std::span<const Fd> inherited,
              bool output_to_stderr) {
  const std::string tried = "start " + argv.at(0);
  const std::vector<char*> argv_pointers = pointers(argv);
  const std::vector<char*> environment_pointers = pointers(environment);
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) throw host_error(errno, tried, "raise `ulimit -n`");
  const Fd reading(report[0]);
  Fd writing(report[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw host_error(errno, tried, "raise `ulimit -u`");
  if (pid == 0) {
    become(program.c_str(), argv_pointers.data(), environment_pointers.data(), inherited,
           output_to_stderr, parent, writing.get());
  }
  writing.reset();
  if (const int error = exec_error(reading.get()); error != 0) {
    ::waitpid(pid, nullptr, 0);
    const char* remedy = "";
    if (error == ENOEXEC) remedy = "begin a script with #!/bin/sh";
    if (error == ENOENT) remedy = "the interpreter its first line names is missing";
    throw host_error(error, tried, remedy, kExitProgramUnusable);
  }
  Fd pidfd = open_pidfd(pid);
  if (!pidfd) {
    const int error = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    throw host_error(error, tried, "Linux 5.3 or newer is needed");
  }
  return {pid, std::move(pidfd)};
}

}  // namespace driver
