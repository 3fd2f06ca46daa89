#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/base/log.h"
#include "netstack/capture/encoder.h"
#include "netstack/capture/frame_filter.h"
#include "netstack/capture/interface_table.h"
#include "netstack/capture/output.h"
#include "netstack/capture/record_ring.h"
#include "netstack/frame/port.h"
#include "netstack/loop/loop.h"

namespace netstack {

constexpr size_t kCaptureRingBytes = 16U << 20U;    // frames waiting to be written
constexpr size_t kCaptureBatchBytes = 1U << 20U;    // written at once, and wakes the writer early
constexpr uint64_t kCaptureDelay_ns = 100'000'000;  // until a frame is in the file, at the latest
constexpr uint64_t kCaptureDrain_ns = kSecond_ns;   // for what is left, when the capture is closed

// Which frames go into a capture, and how much of each.
struct CaptureChoice {
  std::string filter = {};           // of pcap-filter(7), see FrameFilter; empty: every frame
  uint32_t snap_bytes = kSnapBytes;  // the first so many; never more than kSnapBytes
};
constexpr uint32_t kSnapBytesMin = kEthernetHeadBytes;

// Writes every frame it sees, or those that are chosen, to a file, whole, with the wall-clock time
// in nanoseconds; frames of one burst share their time. Checksums are summed and super-frames cut
// as on a wire. tcpdump, tshark and Wireshark read it, also while it grows.
//
// A file named *.pcapng holds more than a pcap: each port is an interface of its own, and a frame
// with a note of its port's (Port::notes()) has it as its comment.
//
// The writer is a thread. A program that locks itself in opens its capture before and starts the
// writer after, since privileges are each thread's own; frames wait in the ring meanwhile.
//
// A frame that could not be written is counted, never waited for, and the log says so: once when
// that begins (watch() hears of it, too), once with the total at the end. The file stays valid when
// its disk is full. A pipe whose reader goes away ends the capture, as it ends tcpdump, with a
// line. All calls are for the loop's thread.
class Capture final : public Mirror {
 public:
  enum class Writer : uint8_t { kStarts, kWaits };

  // `path`: a file (replaced), a FIFO that somebody reads, /dev/fd/N, or "-" for standard output.
  // Throws Error. The loop and log are borrowed for the capture's life. `application` stands in
  // the file as what wrote it.
  // kWaits: nothing is written before start_writer().
  Capture(std::string path, Loop& loop, Log& log, std::string_view application = "lanyard",
          Writer writer = Writer::kStarts, CaptureChoice choice = {});
  ~Capture() override;

  // For who waits to hear whether a capture has begun, before start_writer(): throws Error when the
  // file takes no header. That of a pipe is left to the writer, as its reader may be slow. A file
  // that was made and has no header is taken away again in the end.
  void begin_file();
  void start_writer();  // once; throws Error when there can be no thread

  void observe(const Port& ingress, std::span<const Frame> burst) noexcept override;

  // Writes what is left, at most kCaptureDrain_ns long, and says what is missing. Later frames are
  // lost. The destructor does it too.
  void close();

  // Why frames are missing, "No space left on device"; empty: none is.
  std::string trouble() const;
  struct Watcher {
    // The first trouble of each kind.
    std::function<void(const std::string& trouble)> on_trouble = {};
    // It has closed by itself, since there is no more to write to. It is not to be destroyed in the
    // call.
    std::function<void(const std::string& why)> on_end = {};
  };
  void watch(Watcher watcher) { watcher_ = std::move(watcher); }

  // In the file, and not in it. A frame that waits is in neither; exact after close().
  uint64_t frames_captured() const { return written_frames_.load(); }
  const CaptureChoice& choice() const { return choice_; }
  uint64_t frames_left_out() const { return left_out_frames_; }  // by the filter; in neither count
  uint64_t frames_lost() const { return crowded_out_frames_ + unwritten_frames_.load(); }

 private:
  void record(uint64_t wall_ns, const Frame& frame, uint16_t interface, std::string_view comment);
  void record_finished(uint64_t wall_ns, const Frame& frame, uint16_t interface,
                       std::string_view comment);
  void wake_writer();
  void say_crowding();
  void say_error();
  void say_total();
  void hear_writer();

  void write_until_stopped();
  void wait_for_work(int wait_ms);
  bool write_all();
  bool write_batch();
  void write_header();
  void write_trailer();
  void put_out();
  void fail(int error);
  void lose(size_t frame_count);
  void tell_loop();

  std::string path_;
  Loop& loop_;
  Log& log_;
  CaptureChoice choice_;
  std::unique_ptr<FrameFilter> filter_;  // before the file is opened, which makes it; null: none
  RecordRing ring_{kCaptureRingBytes};
  InterfaceTable interfaces_;
  Output output_;
  Fd wake_event_;
  Fd news_event_;  // the other way: the writer has met trouble, or the end

  // The loop's side.
  bool open_ = true;
  uint64_t woken_at_bytes_ = 0;
  uint64_t crowded_out_frames_ = 0;  // the ring was full
  uint64_t left_out_frames_ = 0;
  std::vector<uint64_t> seen_frames_;  // by interface
  uint64_t closed_wall_ns_ = 0;        // these two are the writer's once output_ is stopped
  Watcher watcher_;
  bool listening_ = false;
  bool said_crowded_ = false;
  bool said_error_ = false;

  // The writer's side.
  std::unique_ptr<Encoder> encoder_;
  bool header_written_ = false;
  bool broken_ = false;  // a record was cut short, or the reader has gone: no more bytes

  // True: the writer has found nothing and wants to be woken for the next frame.
  std::atomic<bool> asleep_{false};

  // The writer tells the loop.
  std::atomic<uint64_t> written_frames_{0};
  std::atomic<uint64_t> unwritten_frames_{0};
  std::atomic<int> error_{0};  // the first errno
  std::atomic<bool> reader_has_gone_{false};

  std::thread writer_;  // last: it uses all of the above
};

}  // namespace netstack
