// The two directions share nothing: input and output may be two pipes, or one socket under two
// numbers. Input is read in large pieces and cut into frames in place, as in StreamPort. Output is
// copied into one buffer per burst and written with one call; what a full pipe leaves stays in that
// buffer, up to kPipeQueue_size, and goes when the reader has made room. A pipe has no sendmsg, and
// a write may stop anywhere, so copying once is simpler than carrying iovecs over from burst to
// burst.
//
// epoll refuses regular files and /dev/null: those cannot make a reader wait, so they are read once
// per tick until their end.
//
// O_NONBLOCK belongs to the open file, which other programs may share (a terminal, a pipe's other
// holders): it is put back at the end.
#include "netstack/port/pipe_port.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/base/error.h"

namespace netstack {
namespace {

bool passes(int errno_value) {
  return errno_value == EAGAIN || errno_value == EINTR;
}

int make_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) throw host_error(errno, "use standard input and output", "open them");
  ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  return flags;
}

// A kind of file that epoll takes.
bool polls(int fd) {
  const Fd probe(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  return !probe || ::epoll_ctl(probe.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno != EPERM;
}

}  // namespace

struct PipePort::Ingress {
  FrameBatch<kBurstFrames> batch;
  uint8_t bytes[kPipeRead_size];
};

PipePort::PipePort(Loop& loop, PortHost& host, int in, int out, std::string name)
    : Port(std::move(name), UINT16_MAX),
      loop_(loop),
      host_(host),
      in_(in),
      out_(out),
      in_flags_(make_non_blocking(in)),
      out_flags_(make_non_blocking(out)),
      ingress_(std::make_unique_for_overwrite<Ingress>()) {
  if (polls(in)) {
    loop_.watch(in_, EPOLLIN, [this](uint32_t) { pull(); });
  } else {
    pull_each_tick();
  }
}

PipePort::~PipePort() {
  loop_.cancel(next_pull_);
  loop_.forget(in_);
  loop_.forget(out_);
  ::fcntl(out_, F_SETFL, out_flags_);  // as they were found, in reverse: both may be one file
  ::fcntl(in_, F_SETFL, in_flags_);
}

void PipePort::pull_each_tick() {
  next_pull_ = loop_.after(0, [this] {
    next_pull_ = 0;
    pull();
    if (!left_) pull_each_tick();
  });
}

void PipePort::pull() {
  const ssize_t got = ::read(in_, ingress_->bytes + ingress_size_, kPipeRead_size - ingress_size_);
  if (got > 0) {
    ingress_size_ += static_cast<size_t>(got);
    take_frames();
  } else if (got == 0 || !passes(errno)) {
    leave();
  }
}

void PipePort::take_frames() {
  const uint8_t* at = ingress_->bytes;
  const uint8_t* const end = at + ingress_size_;
  while (static_cast<size_t>(end - at) >= kPipeLength_size) {
    const size_t length = read_u16(at);
    if (static_cast<size_t>(end - at) - kPipeLength_size < length) break;
    if (!ingress_->batch.add(at + kPipeLength_size, length)) count().drop(DropReason::kRunt);
    if (ingress_->batch.full()) deliver_batch();
    at += kPipeLength_size + length;
  }
  deliver_batch();
  ingress_size_ = static_cast<size_t>(end - at);
  std::memmove(ingress_->bytes, at, ingress_size_);
}

void PipePort::deliver_batch() {
  deliver(ingress_->batch.frames());
  ingress_->batch.clear();
}

size_t PipePort::transmit(std::span<const Frame> burst) noexcept {
  drop_reason_ = reader_there_ && !left_ ? DropReason::kQueueFull : DropReason::kPeerGone;
  if (drop_reason_ == DropReason::kPeerGone) return 0;
  size_t taken = 0;
  for (const Frame& frame : burst) {
    const size_t at = pending_.size();
    if (at + kPipeLength_size + frame.bytes > kPipeQueue_size) break;
    pending_.resize(at + kPipeLength_size + frame.bytes);
    write_u16(&pending_[at], frame.bytes);
    copy_frame(frame, &pending_[at + kPipeLength_size]);
    ++taken;
  }
  if (!waits_) write_pending();
  return taken;
}

void PipePort::write_pending() {
  size_t sent = 0;
  while (sent < pending_.size()) {
    const ssize_t put = ::write(out_, &pending_[sent], pending_.size() - sent);
    if (put > 0) {
      sent += static_cast<size_t>(put);
    } else if (put < 0 && errno == EAGAIN) {
      break;
    } else if (put < 0 && errno != EINTR) {
      reader_there_ = false;
      break;
    }
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(sent));
  if (!reader_there_) pending_.clear();
  const bool waits = !pending_.empty();
  if (waits == waits_) return;
  waits_ = waits;
  if (waits) {
    loop_.watch(out_, EPOLLOUT, [this](uint32_t) { write_pending(); });
  } else {
    loop_.forget(out_);
  }
}

void PipePort::leave() {
  if (std::exchange(left_, true)) return;
  loop_.forget(in_);
  host_.remove(*this, "");
}

}  // namespace netstack
