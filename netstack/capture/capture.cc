#include "netstack/capture/capture.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "netstack/base/counted.h"
#include "netstack/base/error.h"
#include "netstack/frame/finish.h"

namespace netstack {

// Theory. A switch must not wait for a disk, nor for someone who reads a pipe. The loop therefore
// copies each frame into a ring of fixed size and is done; a writer thread takes frames out, lets
// an encoder make a batch of them, and writes the batch.
//
//   loop thread                                writer thread
//   observe() ─► copy ─► RecordRing ─────────► Encoder ─► Output ─► file, FIFO, pipe
//                 └ full: count ┘               └ error: take the cut record back, count
//
// While frames come, the writer looks every kCaptureDelay_ns, and is woken early when
// kCaptureBatchBytes wait: one system call per MiB for the loop, none per frame. A look that finds
// nothing sends it to sleep until the loop wakes it for the first frame again, so a quiet LAN wakes
// nobody. (A writer woken per burst costs the loop a system call each time; writing from the loop
// through a non-blocking descriptor stalls on any regular file, for which O_NONBLOCK means
// nothing.)
//
//   writer   asleep_ = true ─► ring empty? ─► sleep        Both sides swap asleep_ and neither only
//   loop     publish ─► was asleep_? ─► wake               reads it: whoever comes second sees what
//                                                          the first did, so no frame is slept
//                                                          over.
//
// Errors belong to frames: whatever goes wrong, each frame seen is counted as written or as lost,
// and never as both. Log lines are said by the loop's thread, the only one that may use the log; an
// event descriptor tells it of the writer's trouble, whether or not another frame comes.

namespace {
constexpr int kForever_ms = -1;  // for poll(2)
constexpr const char* kCrowded = "frames arrive faster than it can be written";
constexpr const char* kReaderGone = "its reader has gone away";

const char* is_or_are(uint64_t count) {
  return count == 1 ? "is" : "are";
}
}  // namespace

Capture::Capture(std::string path, Loop& loop, Log& log, std::string_view application,
                 Writer writer, CaptureChoice choice)
    : path_(std::move(path)),
      loop_(loop),
      log_(log),
      choice_(std::move(choice)),
      filter_(choice_.filter.empty() ? nullptr : std::make_unique<FrameFilter>(choice_.filter)),
      output_(path_),
      wake_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      news_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      encoder_(make_encoder(path_, interfaces_, application, choice_.snap_bytes)) {
  if (!wake_event_ || !news_event_)
    throw host_error(errno, "make an event descriptor", "raise `ulimit -n`");
  if (writer == Writer::kStarts) start_writer();
}

Capture::~Capture() {
  close();
}

void Capture::begin_file() {
  if (output_.waits_for_reader()) return;
  write_header();
  if (header_written_) return;
  open_ = false;  // nothing is to be written or said any more
  throw host_error(error_.load(), fmt::format("write capture {}", path_),
                   "make room or choose another file", EX_IOERR);
}

// The writer takes no signals: they are the loop's, and SIGPIPE and SIGXFSZ become plain errors.
void Capture::start_writer() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    writer_ = std::thread([this] { write_until_stopped(); });
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw host_error(error.code().value(), "start the capture's thread", "raise `ulimit -u`");
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  loop_.watch(news_event_.get(), EPOLLIN, [this](uint32_t) { hear_writer(); });
  listening_ = true;
}

// --- the loop's side --------------------------------------------------------------------------

void Capture::observe(const Port& ingress, std::span<const Frame> burst) noexcept {
  if (!open_) {
    crowded_out_frames_ += burst.size();
    return;
  }
  const uint64_t now_ns = loop_.clock().wall_ns();
  const uint16_t interface = interfaces_.number_of(ingress);
  if (interface >= seen_frames_.size()) seen_frames_.resize(size_t{interface} + 1);
  std::span<const FrameNote> notes = ingress.notes();
  for (size_t at = 0; at < burst.size(); ++at) {
    std::string_view comment;
    if (!notes.empty() && notes.front().index == at) {
      comment = notes.front().text;
      notes = notes.subspan(1);
    }
    if (FrameFinisher::concerns(burst[at], 0)) [[unlikely]] {
      record_finished(now_ns, burst[at], interface, comment);
    } else {
      record(now_ns, burst[at], interface, comment);
    }
  }
  const uint64_t published_bytes = ring_.publish();
  const bool asleep = asleep_.exchange(false);
  if (asleep || published_bytes - woken_at_bytes_ >= kCaptureBatchBytes) {
    woken_at_bytes_ = published_bytes;
    wake_writer();
  }
  say_crowding();
}

// As the frame would look on a wire; its first piece has the comment. One that cannot be finished
// shows as it came.
void Capture::record_finished(uint64_t wall_ns, const Frame& frame, uint16_t interface,
                              std::string_view comment) {
  FrameFinisher& finisher = frame_finisher();
  if (finisher.begin(frame, 0)) return record(wall_ns, frame, interface, comment);
  for (auto run = finisher.next(); !run.empty(); run = finisher.next()) {
    for (const Frame& finished : run) {
      record(wall_ns, finished, interface, std::exchange(comment, {}));
    }
  }
}

void Capture::record(uint64_t wall_ns, const Frame& frame, uint16_t interface,
                     std::string_view comment) {
  if (filter_ && !filter_->takes(frame)) {
    ++left_out_frames_;
    return;
  }
  ++seen_frames_[interface];
  if (!ring_.add(wall_ns, frame, interface, comment, choice_.snap_bytes)) ++crowded_out_frames_;
}

void Capture::wake_writer() {
  const uint64_t one = 1;
  while (::write(wake_event_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void Capture::say_crowding() {
  if (crowded_out_frames_ == 0 || std::exchange(said_crowded_, true)) return;
  log_.line(fmt::format("capture {}: {}; some are not in it, how many is said at the end", path_,
                        kCrowded));
  if (watcher_.on_trouble) watcher_.on_trouble(kCrowded);
}

// Time runs out at the end only, when say_total() follows with a line.
void Capture::say_error() {
  const int error = error_.load();
  const uint64_t lost_frames = frames_lost();
  if (error == 0 || lost_frames == 0 || reader_has_gone_) return;
  if (std::exchange(said_error_, true)) return;
  if (error != ETIMEDOUT) {
    log_.line(fmt::format("capture {}: {}; {} {} not in it so far", path_, errno_text(error),
                          counted(lost_frames, "frame"), is_or_are(lost_frames)));
  }
  if (watcher_.on_trouble) watcher_.on_trouble(trouble());
}

void Capture::hear_writer() {
  uint64_t count = 0;
  (void)!::read(news_event_.get(), &count, sizeof count);
  say_error();
  if (!reader_has_gone_) return;
  close();
  if (watcher_.on_end) watcher_.on_end(kReaderGone);
}

std::string Capture::trouble() const {
  const int error = error_.load();
  if (reader_has_gone_) return kReaderGone;
  if (error == ETIMEDOUT) return "its reader has stopped reading";
  if (error != 0 && frames_lost() > 0) return errno_text(error);
  return crowded_out_frames_ > 0 ? kCrowded : "";
}

void Capture::say_total() {
  if (reader_has_gone_) {
    return log_.line(fmt::format("capture {}: {}, so it has ended, after {}", path_, kReaderGone,
                                 counted(frames_captured(), "frame")));
  }
  const uint64_t lost_frames = frames_lost();
  if (lost_frames == 0) return;
  const char* why = error_.load() == ETIMEDOUT ? "its reader has stopped reading; " : "";
  log_.line(fmt::format("capture {}: {}{} of {} {} not in it", path_, why, lost_frames,
                        counted(lost_frames + frames_captured(), "frame"), is_or_are(lost_frames)));
}

void Capture::close() {
  if (!open_) return;
  open_ = false;
  if (std::exchange(listening_, false)) loop_.forget(news_event_.get());
  closed_wall_ns_ = loop_.clock().wall_ns();
  output_.stop(kCaptureDrain_ns);
  if (writer_.joinable()) {
    writer_.join();
  } else {
    write_until_stopped();  // here, then: it was stopped before it was started
  }
  say_crowding();
  say_error();
  say_total();
}

// --- the writer's side ------------------------------------------------------------------------

void Capture::write_until_stopped() {
  constexpr int kDelay_ms = static_cast<int>(kCaptureDelay_ns / kMillisecond_ns);
  if (!header_written_) write_header();
  for (bool last = false; !last;) {
    wait_for_work(kDelay_ms);
    last = output_.stopped();  // before the ring is emptied: nothing is added after a stop
    if (write_all() || last) continue;
    asleep_.exchange(true);
    if (write_all()) {
      asleep_.exchange(false);
    } else {
      wait_for_work(kForever_ms);
    }
  }
  write_trailer();
}

// Until the loop wakes the writer, the capture ends, its reader goes away, or the time is over.
void Capture::wait_for_work(int wait_ms) {
  const int reader = broken_ ? -1 : output_.reader();  // poll(2) passes over -1
  std::array<pollfd, 3> fds{
      {{wake_event_.get(), POLLIN, 0}, {output_.stop_event(), POLLIN, 0}, {reader, 0, 0}}};
  ::poll(fds.data(), fds.size(), wait_ms);
  if ((fds[2].revents & (POLLERR | POLLHUP)) != 0) fail(EPIPE);
  uint64_t count = 0;
  if (fds[0].revents != 0) (void)!::read(wake_event_.get(), &count, sizeof count);
}

// False: there was nothing to write.
bool Capture::write_all() {
  if (!write_batch()) return false;
  while (write_batch()) {
  }
  return true;
}

// False: the ring is empty.
bool Capture::write_batch() {
  RecordRing::Record record{};
  while (encoder_->size() < kCaptureBatchBytes && ring_.next(record)) encoder_->add(record);
  ring_.release();
  if (encoder_->ends().empty()) return false;
  put_out();
  return true;
}

void Capture::write_header() {
  const Output::Written done = output_.write(encoder_->file_header());
  header_written_ = done.size == encoder_->file_header().size();
  if (header_written_) return output_.keep();
  fail(done.error);
  broken_ = broken_ || !output_.take_back(done.size);
}

// Only whole, as a file without it is a good one.
void Capture::write_trailer() {
  if (!header_written_ || broken_ || output_.out_of_time()) return;
  const std::vector<uint8_t> trailer = encoder_->file_trailer(closed_wall_ns_, seen_frames_);
  const Output::Written done = output_.write(trailer);
  if (done.size < trailer.size()) output_.take_back(done.size);
}

// Writes the batch. What did not go out whole is lost; the next batch tries again.
void Capture::put_out() {
  const std::vector<size_t>& ends = encoder_->ends();
  if (!header_written_ && !broken_) write_header();
  if (header_written_ && !broken_ && output_.out_of_time()) fail(ETIMEDOUT);
  if (!header_written_ || broken_) {
    lose(ends.size());
    return encoder_->settle(0);
  }
  const size_t batch_size = encoder_->size();
  const Output::Written done = output_.write(encoder_->bytes());
  const auto cut = std::upper_bound(ends.begin(), ends.end(), done.size);
  const size_t whole_size = cut == ends.begin() ? 0 : *(cut - 1);
  const auto whole_count = static_cast<size_t>(cut - ends.begin());
  written_frames_ += whole_count;
  lose(ends.size() - whole_count);
  encoder_->settle(whole_count);
  if (done.size == batch_size) return;
  broken_ = !output_.take_back(done.size - whole_size);
  fail(done.error);
}

// A pipe whose reader has gone is not tried again: a new reader would miss the file's header.
void Capture::fail(int error) {
  int none = 0;
  error_.compare_exchange_strong(none, error);
  if (error == EPIPE || error == ETIMEDOUT) broken_ = true;
  if (error == EPIPE) reader_has_gone_ = true;
  tell_loop();
}

void Capture::lose(size_t frame_count) {
  if (frame_count == 0) return;
  unwritten_frames_ += frame_count;
  tell_loop();
}

void Capture::tell_loop() {
  const uint64_t one = 1;
  while (::write(news_event_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

}  // namespace netstack
