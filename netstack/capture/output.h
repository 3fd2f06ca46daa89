#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"

namespace netstack {

// The descriptor that a path of ours names, one the user opened: "-" and "/dev/stdout",
// "/dev/stderr", "/dev/fd/N", and the places in /proc that these lead to. Nothing: a file.
std::optional<int> given_descriptor(std::string_view path);

// The F_GETFL of a descriptor that was open when we were started; nothing: it was not. One of our
// own may have its number now: all of ours close on exec, and no inherited one does.
std::optional<int> given_flags(int fd);

// True: a capture of this name goes to our standard output ("-", "/dev/stdout", "/dev/fd/1"), so
// nobody else may write there.
bool is_standard_output(std::string_view path);

// Where a capture's bytes go: a file, a FIFO, or a descriptor the user opened ("-" for standard
// output, /dev/fd/N). Belongs to the writer thread, but for stop(). Texts go to a FIFO or a
// descriptor by it, too.
class Output {
 public:
  enum class Content : uint8_t { kCapture, kText };  // no terminal takes a capture

  // Creates or takes over a file, which is then locked for as long as this lives. What was in it
  // goes when the first bytes are written, and stays when it takes none. Throws Error: no
  // such directory, a directory, no permission, a FIFO that nobody reads, a terminal, a file that
  // another capture is being written to.
  explicit Output(const std::string& path, Content content = Content::kCapture);
  // Takes a file away again that it has made, unless keep() was called.
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  void keep() { made_.clear(); }

  struct Written {
    size_t size = 0;
    int error =
        0;  // why it is less than asked for; ETIMEDOUT: stopped, and the reader did not read
  };
  // Waits for a slow reader until all is written or stop() has been called and its time is over.
  Written write(std::span<const uint8_t> bytes);

  // A pipe: write() may wait for its reader.
  bool waits_for_reader() const { return waits_for_reader_; }
  int reader() const { return waits_for_reader_ ? fd_.get() : -1; }  // for poll(2); -1: no pipe

  // Takes the last `size` bytes back, so that the output ends with a whole record. False: it cannot
  // (not a file), and more bytes would make no sense to a reader.
  bool take_back(size_t size);

  // From any thread: from now on write() has this long altogether, waiting included.
  void stop(uint64_t grace_ns);
  bool stopped() const { return deadline_ns_.load() != kNever; }
  bool out_of_time() const;
  int stop_event() const { return stop_event_.get(); }  // readable for ever after stop()

 private:
  static constexpr uint64_t kNever = UINT64_MAX;

  Error open_error(int error) const;
  void adopt(int fd);
  void create();
  void take_over();
  bool wait_writable();
  Written put(std::span<const uint8_t> bytes);
  Written replace(std::span<const uint8_t> bytes);

  std::string path_;
  Content content_;
  Fd fd_;
  // The file that was not there before, until it is worth keeping; empty: none.
  std::string made_;
  bool regular_ = false;
  bool is_old_ = false;  // what was in the file before is still there
  bool waits_for_reader_ = false;
  size_t piece_size_max_ = SIZE_MAX;  // the most one write(2) may be given
  Fd stop_event_;
  std::atomic<uint64_t> deadline_ns_{kNever};
};

}  // namespace netstack
