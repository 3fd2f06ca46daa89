#include "tools/lan/background.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "netstack/base/error.h"

namespace tools {

using netstack::Error;
using netstack::Fd;
using netstack::host_error;

FaceLog::FaceLog(const std::string& program)
    : name_(std::filesystem::path(program).filename()), terminal_(STDERR_FILENO, program) {}

void FaceLog::line(std::string_view text) {
  if (in_background_) {
    ::syslog(LOG_DAEMON | LOG_NOTICE, "%.*s", static_cast<int>(text.size()), text.data());
  } else {
    terminal_.line(text);
  }
}

void FaceLog::in_background() {
  in_background_ = true;
  ::openlog(name_.c_str(), LOG_PID, LOG_DAEMON);
}

namespace {

// Ends this process as the child says, or as it ended.
[[noreturn]] void wait_for(pid_t child, const Fd& heard) {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(heard.get(), &word, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) ::_exit(EX_OK);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE);
}

}  // namespace

Background::Background(bool wanted) {
  if (!wanted) return;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw host_error(errno, "make a pipe", "");
  const Fd heard(ends[0]);
  tell_ = Fd(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) throw host_error(errno, "go to the background", "raise `ulimit -u`");
  if (child == 0) {
    ::setsid();
    return;
  }
  tell_.reset();
  wait_for(child, heard);
}

void Background::ready(FaceLog& log) {
  if (!tell_) return;
  log.in_background();
  const Fd nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nowhere || ::chdir("/") != 0) throw host_error(errno, "go to the background", "");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere.get(), fd);
  if (::write(tell_.get(), "r", 1) != 1) throw host_error(errno, "go to the background", "");
  tell_.reset();
}

PidFile::PidFile(const std::string& path) {
  if (path.empty()) return;
  const std::string whole = std::filesystem::absolute(path);
  file_ = Fd(::open(whole.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file_) {
    throw host_error(errno, "make pid file " + path,
                     errno == EEXIST ? "remove it if the process it names is gone"
                                     : "name a file in a directory you may write to",
                     EX_CANTCREAT);
  }
  path_ = whole;
  const std::string text = fmt::format("{}\n", ::getpid());
  if (::write(file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    const int refusal = errno;
    ::unlink(path_.c_str());
    throw host_error(refusal, "write pid file " + path, "", EX_CANTCREAT);
  }
}

PidFile::~PidFile() {
  struct stat ours {};
  struct stat named {};
  if (path_.empty() || ::fstat(file_.get(), &ours) != 0) return;
  if (::lstat(path_.c_str(), &named) != 0) return;
  if (ours.st_dev == named.st_dev && ours.st_ino == named.st_ino) ::unlink(path_.c_str());
}

}  // namespace tools
