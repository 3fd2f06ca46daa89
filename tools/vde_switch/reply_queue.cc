#include "tools/vde_switch/reply_queue.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tools {

namespace {

constexpr size_t kTerminalChunk_size = 256;  // when it cannot be opened again

netstack::Fd reopen_terminal(int fd) {
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  return netstack::Fd(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

bool polls_writable(int fd, int wait_ms) {
  pollfd wanted{fd, POLLOUT, 0};
  return ::poll(&wanted, 1, wait_ms) == 1;
}

}  // namespace

ReplyQueue::ReplyQueue(netstack::Loop& loop, netstack::Fd fd, std::function<void()> on_drained)
    : loop_(loop), fd_(std::move(fd)), kind_(Kind::kFile), on_drained_(std::move(on_drained)) {
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) return;
  if (S_ISSOCK(status.st_mode)) kind_ = Kind::kSocket;
  if (S_ISFIFO(status.st_mode)) kind_ = Kind::kPipe;
  if (S_ISCHR(status.st_mode) && ::isatty(fd_.get()) != 0) {
    kind_ = Kind::kTerminal;
    if (netstack::Fd own = reopen_terminal(fd_.get())) fd_ = std::move(own);
  }
}

ReplyQueue::~ReplyQueue() {
  set_watching(false);
}

void ReplyQueue::put(std::string_view bytes) {
  if (broken_) return;
  bytes_ += bytes;
  if (!watching_ && !write_some()) set_watching(true);
}

void ReplyQueue::give_up() {
  broken_ = true;
  bytes_.clear();
  sent_size_ = 0;
  set_watching(false);
}

void ReplyQueue::flush_within(int wait_ms) {
  while (!write_some()) {
    if (!polls_writable(fd_.get(), wait_ms)) return;
  }
}

bool ReplyQueue::write_some() {
  while (!empty()) {
    const char* at = bytes_.data() + sent_size_;
    size_t chunk = size();
    if (kind_ == Kind::kPipe) chunk = std::min<size_t>(chunk, PIPE_BUF);
    if (kind_ == Kind::kTerminal) chunk = std::min(chunk, kTerminalChunk_size);
    const bool asks_first = kind_ == Kind::kPipe || kind_ == Kind::kTerminal;
    if (asks_first && !polls_writable(fd_.get(), 0)) return false;
    const ssize_t put = kind_ == Kind::kSocket
                            ? ::send(fd_.get(), at, chunk, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : ::write(fd_.get(), at, chunk);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return false;
    if (put < 0) {
      give_up();
      return true;
    }
    sent_size_ += static_cast<size_t>(put);
    taken_count_ += static_cast<uint64_t>(put);
  }
  bytes_.clear();
  sent_size_ = 0;
  return true;
}

void ReplyQueue::set_watching(bool on) {
  if (watching_ == on) return;
  watching_ = on;
  if (!on) return loop_.forget(fd_.get());
  loop_.watch(fd_.get(), EPOLLOUT, [this](uint32_t) {
    if (!write_some()) return;
    set_watching(false);
    on_drained_();
  });
}

}  // namespace tools
