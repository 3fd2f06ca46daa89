#include "tools/vde_switch/console.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "netstack/base/error.h"
#include "tools/vde_switch/banner.h"

namespace tools {

using netstack::Fd;

namespace {

Fd duplicate(int fd) {
  return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

bool may_be_written(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

}  // namespace

Console::Console(Interpreter& interpreter, SwitchState& state, OnEnd on_end)
    : loop_(state.lan.loop()),
      on_end_(std::move(on_end)),
      prompts_(may_be_written(STDIN_FILENO)),
      session_(interpreter, state, duplicate(STDOUT_FILENO),
               {[this] { prompt(); },
                [this](Next next) {  // there is nothing to log out of
                  if (next == Next::kShutdown) end(End::kShutdown);
                  return next == Next::kShutdown;
                },
                [this] { adapt_watching(); }, Session::Tail::kEndsAsLinesBefore}) {
  watch_input();
}

Console::~Console() {
  loop_.cancel(read_timer_);
  loop_.cancel(reader_timer_);
  session_.replies().flush_within(ended_ ? kLateReader_ms : kLastWords_ms);
}

// A file, and /dev/null, cannot be waited for and need not be: they are read a piece per tick.
void Console::watch_input() {
  try {
    input_.emplace(loop_, duplicate(STDIN_FILENO), EPOLLIN,
                   [this](uint32_t events) { on_input(events); });
  } catch (const netstack::Error&) {
    file_input_ = duplicate(STDIN_FILENO);
    read_later();
  }
}

void Console::read_later() {
  read_timer_ = loop_.after(0, [this] {
    read_timer_ = 0;
    pollfd input{file_input_.get(), POLLIN, 0};
    if (::poll(&input, 1, 0) == 0) return watch_input();  // a FIFO that has a writer again
    read_some();
    if (!ended_ && session_.wants_input() && read_timer_ == 0) read_later();
  });
}

// While its replies are not read the writer is not heard, but its end is.
void Console::on_input(uint32_t epoll_events) {
  const bool over = (epoll_events & (EPOLLHUP | EPOLLERR)) != 0;
  over && !session_.wants_input() ? outlive_writer() : read_some();
}

// What it has written is read on as the replies are taken; epoll would report its end all the time.
void Console::outlive_writer() {
  file_input_ = input_->release();
  input_.reset();
  wait_for_reader();
}

// As long as it takes some of them now and then.
void Console::wait_for_reader() {
  const uint64_t taken = session_.replies().taken_count();
  reader_timer_ = loop_.after(kLateReader_ms * netstack::kMillisecond_ns, [this, taken] {
    if (!session_.wants_input() && session_.replies().taken_count() == taken) {
      session_.replies().give_up();
      return adapt_watching();
    }
    wait_for_reader();
  });
}

void Console::read_some() {
  std::array<char, kConsoleRead_size> bytes;
  const int fd = input_ ? input_->get() : file_input_.get();
  const ssize_t got = ::read(fd, bytes.data(), bytes.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got > 0) {
    const auto size = static_cast<size_t>(got);
    return session_.take({bytes.data(), size});
  }
  session_.take_end();  // 0, or EIO: the terminal is gone
  end(End::kInputEnded);
}

void Console::end(End how) {
  if (ended_) return;
  ended_ = true;
  if (input_) input_->forget();
  on_end_(how);
}

void Console::adapt_watching() {
  if (ended_) return;
  const bool wanted = session_.wants_input();
  if (input_) {
    input_->rewatch(wanted ? EPOLLIN : 0U);
  } else if (wanted && read_timer_ == 0 && file_input_) {
    read_later();
  }
}

void Console::prompt() {
  if (!prompts_) return;
  pollfd wanted{STDIN_FILENO, POLLOUT, 0};
  if (::poll(&wanted, 1, 0) != 1 || (wanted.revents & POLLOUT) == 0) return;
  if (::write(STDIN_FILENO, kVdePrompt, std::strlen(kVdePrompt)) < 0) prompts_ = false;
}

}  // namespace tools
