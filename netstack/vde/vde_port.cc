// Datagrams to frames and back, many per system call.
//
// Ingress is one recvmmsg of up to kBurstFrames datagrams per tick. MSG_TRUNC in a message's flags
// tells a datagram that was longer than its slot: it is dropped and counted, never passed on cut
// short. Egress is sendmmsg straight from the sender's buffers.
//
// A frame alone goes by recv() and send(), which cost a fifth less than asking for many and getting
// one (1.39 us together, against 1.77 and 1.55): most of a conversation is frames alone.
//
// The two data sockets are connected to each other. Between such a pair Linux does not apply
// net.unix.max_dgram_qlen (10 datagrams); the queue's depth is the *sender's* send buffer. So ours
// is raised (kSendBuffer_size), and what it does not take waits in an EgressQueue for EPOLLOUT,
// which comes when three quarters of it have been read.
//
// A plug that sends many frames at a time, or is sent them, is busy: the loop looks at it every
// tick and epoll does not know it. Otherwise each send() of its client, and each recv(), walks
// through epoll's entry in our socket's wait queue: 10 to 20% of their cost, measured with a
// forwarder of 80 lines, and the rate of a flow on two processors is what sender, switch and
// receiver pay. One that sends frame after frame alone, as in a conversation, is waited for by
// poll(2) for the same reason: a round trip of 22.4 us takes 20.4 (vde_switch: 21.0).
//
// Backpressure. A client's own socket blocks it while we do not read. So when a receiver has frames
// waiting in its EgressQueue, the sender whose burst added to them rests:
//
//             read 64 ─► frames wait at B ─► A rests ──► B has caught up ─► A goes on
//                                              │  ▲
//                              kVdeRest_ns over▼  │frames wait again
//                                     read 16 (kVdeRestFrames_count), but if all we read last was
//                                     for B: not before B's queue is down to kVdeHold_size
//
//   - A sender rests alone: the ports it does not send to, and all other senders, notice nothing.
//   - A sender's own frames for a third port, mixed with those for B, wait no longer than
//     kVdeRest_ns per 16 frames before them, however slow B is. Only its reading rests; what is
//     sent to it still leaves. One whose last burst was all for B has nothing else to say for now:
//     it is held at B's own pace, as long as B takes something every kVdeStill_ns.
//   - So a receiver that reads steadily loses nothing of what is sent to it alone, at any rate of
//     the sender: kVdeSteadyFrames_count frames in kVdePatience_ns are steady. A broadcast, or a
//     burst for several, is paced for kVdePatience_ns and no longer, for one slow reader is not to
//     set the pace of a LAN.
//   - A receiver that has stopped, or all but, is waited for kVdePatience_ns; meanwhile the queue
//     takes what is read (4 MiB hold 170 ms of one sender's 1514-byte frames). Then senders rest
//     for it no longer and its queue drops and counts, until it has read everything. Each time
//     that happens its patience halves (down to one rest), and the frames it has to take meanwhile
//     with it; each time it catches up in time it doubles again.
//
// The burst in flight carries the news: transmit() runs inside the ingress port's deliver(), and
// the two know each other only through the DatagramBurst they share. The switch is not involved.
//
// Measured beside vde_switch 2.3.2 with two stock clients (bench/vde_peers), one flow of 1514-byte
// frames: no loss and 1.9 us of the switch's CPU per frame, against 2.2 us and 0 to 70% of the
// frames lost without backpressure. Less work, too: what nobody will read is not sent.
//
// Refused:
//   - Holding whoever sends to B at B's pace, whatever else it sends: a router among the guests
//     would serve all of them at the pace of the slowest.
//   - Resting only when the queue is deep (64 KiB, 512 KiB, 2 MiB): the same cost within 4%, and
//     the sender's frames are copied once more and wait longer.
//   - A smaller send buffer, whose memory stays in the cache: 128 KiB to 1 MiB cost the same within
//     3%, 64 KiB 9% more at 1514 bytes.
//   - Joining head and body in one iovec per message (they lie side by side as long as no tag
//     changes): 1521 ns against 1502 ns for a send and a receive, which is noise. 99% of the time
//     is the kernel's, per message; 8 messages per call or 64 make no difference either.
//   - Telling the sender through Sink and the switch: every port kind would carry it.
//
// The client's data socket may close before its ctl stream does. Frames in between are counted as
// kPeerGone; only the end of the ctl stream ends the port, because only that is sure to come.
#include "netstack/vde/vde_port.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "netstack/vde/vde_request.h"

namespace netstack {
namespace {

constexpr size_t kIovecs_count = 256;       // for the frames of one sendmmsg
constexpr uint32_t kAloneBytes_max = 2048;  // joining the pieces of more costs what it saves
constexpr int kTakeWhole = MSG_DONTWAIT | MSG_TRUNC;  // lengths as sent, received or not
constexpr int kSendNow = MSG_DONTWAIT | MSG_NOSIGNAL;

bool would_block(int errno_value) {
  return errno_value == EAGAIN || errno_value == EINTR || errno_value == ENOBUFS ||
         errno_value == ENOMEM;
}

// How many messages went out; negative: not even the first, see errno.
int send_messages(int fd, mmsghdr* messages, size_t count) {
  return ::sendmmsg(fd, messages, static_cast<unsigned>(count), kSendNow);
}

// The same for one frame of at most kAloneBytes_max.
int send_alone(int fd, const Frame& frame) {
  std::array<uint8_t, kAloneBytes_max> bytes;
  return ::send(fd, bytes.data(), copy_frame(frame, bytes.data()), kSendNow) < 0 ? -1 : 1;
}

// As many frames of a burst as one sendmmsg carries.
class Gather {
 public:
  explicit Gather(std::span<const Frame> burst) {
    for (const Frame& frame : burst.first(std::min(burst.size(), messages_.size()))) {
      if (piece_count_ + 1 + frame.body.size() > pieces_.size()) break;
      add(frame);
    }
  }
  size_t frame_count() const { return frame_count_; }
  int send(int fd) { return send_messages(fd, messages_.data(), frame_count_); }

 private:
  void add(const Frame& frame) {
    msghdr& message = messages_[frame_count_++].msg_hdr;
    message = {};
    message.msg_iov = &pieces_[piece_count_];
    message.msg_iovlen = 1 + frame.body.size();
    pieces_[piece_count_++] = {const_cast<uint8_t*>(frame.head.data()), frame.head_bytes};
    for (const iovec& part : frame.body) pieces_[piece_count_++] = part;
  }

  std::array<mmsghdr, kBurstFrames> messages_;
  std::array<iovec, kIovecs_count> pieces_;
  size_t frame_count_ = 0;
  size_t piece_count_ = 0;
};

}  // namespace

DatagramBurst::DatagramBurst()
    : bytes_(std::make_unique_for_overwrite<uint8_t[]>(kBurstFrames * kSlot_size)) {
  for (size_t i = 0; i < kBurstFrames; ++i) {
    slots_[i] = {&bytes_[i * kSlot_size], kVdeFrameBytesMax};
    messages_[i].msg_hdr.msg_iov = &slots_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
}

std::span<Frame> DatagramBurst::receive(int fd, PortCounters& counters, size_t frame_count_max) {
  batch_.clear();
  crowded_ = nullptr;
  receiver_ = nullptr;
  shared_ = false;
  sent_count_ = 0;
  if (frame_count_max == 1) {
    const ssize_t bytes = ::recv(fd, slots_[0].iov_base, kVdeFrameBytesMax, kTakeWhole);
    if (bytes > 0) add(0, static_cast<size_t>(bytes), counters);
  } else {
    const int got = ::recvmmsg(fd, messages_.data(),
                               static_cast<unsigned>(std::min(frame_count_max, kBurstFrames)),
                               kTakeWhole, nullptr);
    for (int i = 0; i < got; ++i) {
      add(static_cast<size_t>(i), messages_[static_cast<size_t>(i)].msg_len, counters);
    }
  }
  frame_count_ = batch_.frames().size();
  return batch_.frames();
}

// What came into slot `i`: a datagram that was sent with `bytes`, some of which may not fit.
void DatagramBurst::add(size_t i, size_t bytes, PortCounters& counters) {
  if (bytes == 0) return;  // libvdeplug 2.3 says goodbye with one
  if (bytes > kVdeFrameBytesMax) {
    counters.drop(DropReason::kTooLong);
  } else if (!batch_.add(static_cast<const uint8_t*>(slots_[i].iov_base), bytes)) {
    counters.drop(DropReason::kRunt);
  }
}

VdePort::VdePort(Loop& loop, PortHost& host, std::shared_ptr<DatagramBurst> burst, VdePlug plug,
                 std::string name)
    : Port(std::move(name), kVdeFrameBytesMax),
      loop_(loop),
      host_(host),
      burst_(std::move(burst)),
      ctl_(loop, std::move(plug.ctl), EPOLLIN, [this](uint32_t) { on_ctl(); }),
      data_(loop, std::move(plug.data), EPOLLIN, [this](uint32_t events) { on_data(events); }),
      file_(std::move(plug.file)) {
  raise_send_buffer(data_.get());
}

VdePort::~VdePort() {
  go_on();
  send_senders_on();
}

bool VdePort::reply() {
  const VdeReplyWire address = unix_address(file_.path());
  if (::send(ctl_.get(), &address, sizeof address, kSendNow) ==
      static_cast<ssize_t>(sizeof address)) {
    return true;
  }
  leave("");
  return false;
}

void VdePort::on_ctl() {
  uint8_t byte = 0;
  const ssize_t got = ::recv(ctl_.get(), &byte, sizeof byte, MSG_DONTWAIT);
  if (got > 0) {
    leave("its ctl stream, which is silent after the handshake, carried more");
  } else if (got == 0 || !would_block(errno)) {
    take_last_frames();
    leave("");
  }
}

// What a client sends just before it closes has arrived, even if the loop saw the end first.
void VdePort::take_last_frames() {
  for (size_t i = 0; i < kVdeLastBursts_count; ++i) {
    const std::span<Frame> burst = burst_->receive(data_.get(), count());
    if (burst.empty()) return;
    deliver(burst);
  }
}

void VdePort::on_data(uint32_t epoll_events) {
  if ((epoll_events & EPOLLOUT) != 0) drain();
  if ((epoll_events & (EPOLLIN | EPOLLERR)) != 0) look();
}

// A plug is busy while a look finds many frames waiting, or many were sent to it since the last.
// One that has sent a frame at a time for a while is asked for one, and for more now and then, and
// poll waits for it.
void VdePort::look() {
  const bool fed = std::exchange(fed_, false);
  const bool one_will_do =
      lone_looks_count_ >= kVdeLoneLooks_count && lone_looks_count_ % kVdeLoneLooks_count != 0;
  const size_t frame_count = take_burst(one_will_do ? 1 : kBurstFrames);
  lone_looks_count_ = frame_count == 1 ? lone_looks_count_ + 1 : 0;
  if (lone_looks_count_ > 0 && lone_looks_count_ % kVdeLoneLooks_count == 0) data_.wait_by_poll();
  if (frame_count >= kVdeBusyFrames_count) data_.set_busy(true);
  if (frame_count == 0 && !fed) data_.set_busy(false);
}

size_t VdePort::take_burst(size_t frame_count_max) {
  const std::span<Frame> burst = burst_->receive(data_.get(), count(), frame_count_max);
  deliver(burst);
  VdePort* const receiver = burst_->crowded();
  if (receiver == nullptr || resting_for_ != nullptr || left_) return burst.size();
  alone_ = burst_->is_all_for(*receiver);
  if (receiver->is_worth_a_rest(alone_)) rest_for(*receiver);
  return burst.size();
}

size_t VdePort::transmit(std::span<const Frame> burst) noexcept {
  drop_reason_ = left_ ? DropReason::kPeerGone : DropReason::kQueueFull;
  if (left_) return 0;
  burst_->note_sent(*this, burst);
  if (burst.size() >= kVdeBusyFrames_count) {
    fed_ = true;
    data_.set_busy(true);
  }
  const size_t sent = queue_.empty() ? transmit_now(burst) : 0;
  if (sent == burst.size() || drop_reason_ == DropReason::kPeerGone) return sent;
  const size_t queued = queue_.push(burst.subspan(sent));
  watch_data();
  if (!gave_up_) burst_->note_crowded(*this);
  return sent + queued;
}

size_t VdePort::transmit_now(std::span<const Frame> burst) {
  size_t sent = 0;
  while (sent < burst.size()) {
    const std::span<const Frame> rest = burst.subspan(sent);
    int put = 0;
    if (rest.size() == 1 && rest.front().bytes <= kAloneBytes_max) {
      put = send_alone(data_.get(), rest.front());
    } else {
      Gather gather(rest);
      if (gather.frame_count() == 0) break;  // too many pieces: the queue will make it one
      put = gather.send(data_.get());
    }
    if (put < 0) {
      if (!would_block(errno)) drop_reason_ = DropReason::kPeerGone;
      break;
    }
    sent += static_cast<size_t>(put);
  }
  return sent;
}

void VdePort::drain() {
  std::array<iovec, kBurstFrames> frames;
  std::array<mmsghdr, kBurstFrames> messages;
  for (size_t burst = 0; burst < kVdeDrainBursts_count && !queue_.empty(); ++burst) {
    const size_t frame_count = queue_.peek_frames(frames);
    for (size_t i = 0; i < frame_count; ++i) {
      messages[i].msg_hdr = {};
      messages[i].msg_hdr.msg_iov = &frames[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int put = send_messages(data_.get(), messages.data(), frame_count);
    if (put < 0) {
      if (would_block(errno)) return;
      queue_.abandon(count());
      break;
    }
    queue_.pop_frames(static_cast<size_t>(put));
    taken_count_ += static_cast<size_t>(put);
    moved_ns_ = loop_.clock().monotonic_ns();
  }
  if (!queue_.empty()) return;
  watch_data();
  caught_up();
}

void VdePort::watch_data() {
  const uint32_t in = resting_for_ == nullptr ? EPOLLIN : 0U;
  const uint32_t out = queue_.empty() ? 0U : EPOLLOUT;
  data_.rewatch(in | out);
}

// --- backpressure -----------------------------------------------------------------------------

void VdePort::rest_for(VdePort& receiver) {
  resting_for_ = &receiver;
  receiver.resting_.push_back(this);
  rest_end_ = loop_.after(kVdeRest_ns, [this] { end_full_rest(); });
  watch_data();
}

void VdePort::end_full_rest() {
  if (alone_ && resting_for_->is_worth_more_rest()) {
    rest_end_ = loop_.after(kVdeRest_ns, [this] { end_full_rest(); });
    return;
  }
  if (resting_for_ == nullptr) return;  // it has caught up just now, and we are to read all we can
  go_on();
  take_burst(kVdeRestFrames_count);
}

void VdePort::go_on() {
  if (resting_for_ == nullptr) return;
  loop_.cancel(rest_end_);
  std::erase(resting_for_->resting_, this);
  resting_for_ = nullptr;
  watch_data();
}

// Frames wait here. Asked after every burst that added to them; `alone`: with nothing else in it.
bool VdePort::is_worth_a_rest(bool alone) {
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  if (patience_end_ns_ == 0) {
    crowded_since_ns_ = moved_ns_ = now_ns;
    patience_end_ns_ = now_ns + patience_ns_;
    taken_count_ = 0;
  }
  if (now_ns >= patience_end_ns_ && !has_earned_patience(now_ns)) return false;
  return !queue_.empty() && (alone || now_ns - crowded_since_ns_ < patience_ns_);
}

// Patience has run out. Its socket says what it has taken meanwhile: EPOLLOUT, which comes when
// three quarters are read, may be far off yet.
bool VdePort::has_earned_patience(uint64_t now_ns) {
  drain();
  if (queue_.empty()) return true;
  const bool steady = taken_count_ * kVdePatience_ns >= kVdeSteadyFrames_count * patience_ns_;
  taken_count_ = 0;
  patience_end_ns_ = now_ns + patience_ns_;
  if (steady) return true;
  gave_up_ = true;
  patience_ns_ = std::max(patience_ns_ / 2, kVdeRest_ns);
  return false;
}

// Asked after each rest of a sender that has nothing for anybody else.
bool VdePort::is_worth_more_rest() {
  if (queue_.frame_bytes() > kVdeHold_size) drain();
  if (queue_.frame_bytes() <= kVdeHold_size || gave_up_) return false;
  return is_worth_a_rest(true) && loop_.clock().monotonic_ns() - moved_ns_ < kVdeStill_ns;
}

// Nothing waits any more.
void VdePort::caught_up() {
  if (!gave_up_) patience_ns_ = std::min(patience_ns_ * 2, kVdePatience_ns);
  gave_up_ = false;
  patience_end_ns_ = 0;
  send_senders_on();
}

void VdePort::send_senders_on() {
  while (!resting_.empty()) resting_.back()->go_on();
}

void VdePort::leave(std::string_view why) {
  if (std::exchange(left_, true)) return;
  queue_.abandon(count());
  ctl_.forget();
  data_.forget();
  go_on();
  send_senders_on();
  host_.remove(*this, why);
}

}  // namespace netstack
