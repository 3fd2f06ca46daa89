#include "driver/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace driver {

Terminal::Terminal() {
  termios now{};
  if (::tcgetattr(STDIN_FILENO, &now) == 0) settings_ = now;
  for (int fd = 0; fd < 3; ++fd) flags_[fd] = ::fcntl(fd, F_GETFL);
}

// Only while the terminal is ours. In the background its settings are somebody else's by now; and
// SIGTTOU, which would stop us in the middle, is blocked in case that changes under our hands.
Terminal::~Terminal() {
  for (int fd = 0; fd < 3; ++fd) {
    const int now = ::fcntl(fd, F_GETFL);
    if (now < 0 || flags_[fd] < 0 || ((now ^ flags_[fd]) & O_NONBLOCK) == 0) continue;
    ::fcntl(fd, F_SETFL, now ^ O_NONBLOCK);
  }
  if (!settings_ || ::tcgetpgrp(STDIN_FILENO) != ::getpgrp()) return;
  sigset_t stop;
  sigset_t before;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &stop, &before);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &*settings_);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace driver
