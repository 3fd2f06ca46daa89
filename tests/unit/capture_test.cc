#include "netstack/capture/capture.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "netstack/base/error.h"
#include "tests/unit/capture_fixture.h"
#include "tests/unit/file_size_limit.h"

namespace {

using namespace tests;

TEST_CASE("frames come back with their bytes, length and nanoseconds") {
  const TemporaryDirectory dir;
  ManualClock clock;
  Loop loop{clock};
  MemoryLog log;
  std::mt19937 random(7);
  std::vector<Bytes> sent;
  std::vector<uint64_t> times_ns;
  {
    Capture capture(dir.file("a.pcap"), loop, log);
    for (const size_t size : {14, 15, 60, 1514, 9014, 65'535, 65'553}) {
      Bytes bytes = frame_bytes(size, 0);
      for (size_t i = 14; i < size; ++i) bytes[i] = static_cast<uint8_t>(random());
      observe(capture, bytes);
      sent.push_back(bytes);
      times_ns.push_back(clock.wall_ns());
      clock.advance_ns(1'000'000'001);
    }
    capture.close();
    CHECK(capture.frames_captured() == sent.size());
    CHECK(capture.frames_lost() == 0);
  }
  const auto records = read_savefile(dir.file("a.pcap"));
  REQUIRE(records.size() == sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    CHECK(records[i].bytes == sent[i]);
    CHECK(records[i].wire_size == sent[i].size());
    CHECK(records[i].wall_ns == times_ns[i]);
  }
  CHECK(log.lines.empty());
}

TEST_CASE("a tagged frame in many pieces is recorded whole and in order") {
  const TemporaryDirectory dir;
  ManualClock clock;
  Loop loop{clock};
  MemoryLog log;
  Bytes whole = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,
                 1,    2,    3,    0x81, 0x00, 0xe0, 0x2a, 0x08, 0x06};
  std::vector<Bytes> pieces;
  for (size_t i = 0; i < 40; ++i) {
    pieces.emplace_back(i + 1, static_cast<uint8_t>(i)).resize(i);  // the first is empty
  }
  std::vector<iovec> body;
  for (Bytes& piece : pieces) {
    body.push_back({piece.data(), piece.size()});
    whole.insert(whole.end(), piece.begin(), piece.end());
  }
  Frame frame;
  std::copy_n(whole.begin(), 18, frame.head.begin());
  frame.head_bytes = 18;
  frame.bytes = static_cast<uint32_t>(whole.size());
  frame.body = body;
  {
    Capture capture(dir.file("a.pcap"), loop, log);
    const std::vector<Frame> burst(3, frame);
    capture.observe(NamedPort("port"), burst);
  }
  const auto records = read_savefile(dir.file("a.pcap"));
  REQUIRE(records.size() == 3);
  for (const Recorded& record : records) CHECK(record.bytes == whole);
}

TEST_CASE("an empty capture is a valid file, and a new one replaces an old one") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  {
    Capture capture(dir.file("a.pcap"), loop, log);
    observe(capture, frame_bytes(5000, 1));
  }
  { const Capture capture(dir.file("a.pcap"), loop, log); }
  CHECK(read_savefile(dir.file("a.pcap")).empty());
}

TEST_CASE("more than the ring holds goes through it when the writer keeps up") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  Capture capture(dir.file("a.pcap"), loop, log);
  uint64_t sent = 0;
  uint64_t sent_bytes = 0;
  while (sent_bytes < 3 * kCaptureRingBytes) {
    const size_t size = 60 + (sent * 7919) % 9000;
    observe(capture, frame_bytes(size, static_cast<uint8_t>(sent)));
    ++sent;
    sent_bytes += size;
    if (sent % 256 == 0) {
      REQUIRE(eventually([&] { return sent - capture.frames_captured() < 1024; }));
    }
  }
  capture.close();
  CHECK(capture.frames_captured() == sent);
  CHECK(capture.frames_lost() == 0);
  const auto records = read_savefile(dir.file("a.pcap"));
  REQUIRE(records.size() == sent);
  for (size_t i = 0; i < records.size(); ++i) {
    const size_t size = 60 + (i * 7919) % 9000;
    if (records[i].bytes != frame_bytes(size, static_cast<uint8_t>(i))) FAIL("record ", i);
  }
}

TEST_CASE("the file grows while the capture is open") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  Capture capture(dir.file("a.pcap"), loop, log);
  observe(capture, frame_bytes(100, 1));
  REQUIRE(eventually([&] { return capture.frames_captured() == 1; }));
  CHECK(read_savefile(dir.file("a.pcap")).size() == 1);
}

TEST_CASE("a disk that is full from the start: counted, said once and once at the end") {
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  Capture capture("/dev/full", loop, log);
  observe(capture, frame_bytes(100, 1));
  REQUIRE(eventually([&] { return capture.frames_lost() == 1; }));
  for (int i = 0; i < 9; ++i) observe(capture, frame_bytes(100, 1));
  capture.close();
  CHECK(capture.frames_lost() == 10);
  CHECK(capture.frames_captured() == 0);
  REQUIRE(log.lines.size() == 2);
  CHECK(log.lines[0].starts_with("capture /dev/full: No space left on device; "));
  CHECK(log.lines[0].ends_with(" frames are not in it so far"));
  CHECK(log.lines[0].find(" 0 frames") == std::string::npos);
  CHECK(log.lines[1] == "capture /dev/full: 10 of 10 frames are not in it");
}

TEST_CASE("who asks whether a capture has begun is told that the disk is full") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  std::filesystem::create_symlink("/dev/full", dir.file("full.pcapng"));
  for (const std::string& path : {std::string("/dev/full"), dir.file("full.pcapng")}) {
    Capture capture(path, loop, log, "test", Capture::Writer::kWaits);
    try {
      capture.begin_file();
      FAIL("it began");
    } catch (const Error& error) {
      CHECK(error.what() ==
            fmt::format("cannot write capture {}: No space left on device; make room or choose "
                        "another file",
                        path));
    }
  }
  CHECK(log.lines.empty());
  Capture capture(dir.file("a.pcap"), loop, log, "test", Capture::Writer::kWaits);
  capture.begin_file();
  CHECK(std::filesystem::file_size(dir.file("a.pcap")) == 24);
  capture.start_writer();
  observe(capture, frame_bytes(100, 1));
  capture.close();
  CHECK(read_savefile(dir.file("a.pcap")).size() == 1);
}

TEST_CASE(
    "a file that was made and takes no header is taken away again, one of before is unharmed") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  std::ofstream(dir.file("old.pcap")) << "of before, and longer than the limit";
  for (const char* name : {"new.pcap", "old.pcap"}) {
    const FileSizeLimit limit(10, FileSizeLimit::Writer::kThisThread);
    Capture capture(dir.file(name), loop, log, "test", Capture::Writer::kWaits);
    CHECK_THROWS_AS(capture.begin_file(), Error);
  }
  CHECK_FALSE(std::filesystem::exists(dir.file("new.pcap")));
  std::string left;
  std::getline(std::ifstream(dir.file("old.pcap")), left);
  CHECK(left == "of before, and longer than the limit");
}

TEST_CASE("a file that may not grow ends with a whole record, and grows again when it may") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  Capture capture(dir.file("a.pcap"), loop, log);
  {
    const FileSizeLimit limit(10'000);  // no multiple of a record's 1016 bytes
    for (int i = 0; i < 20; ++i) observe(capture, frame_bytes(1000, static_cast<uint8_t>(i)));
    REQUIRE(eventually([&] { return capture.frames_captured() + capture.frames_lost() == 20; }));
  }

  CHECK(capture.frames_captured() == 9);  // 24 + 9 * 1016 = 9168
  const auto records = read_savefile(dir.file("a.pcap"));
  REQUIRE(records.size() == 9);
  for (size_t i = 0; i < 9; ++i) {
    CHECK(records[i].bytes == frame_bytes(1000, static_cast<uint8_t>(i)));
  }
  observe(capture, frame_bytes(1000, 99));
  capture.close();
  CHECK(capture.frames_captured() == 10);
  CHECK(capture.frames_lost() == 11);
  const auto after = read_savefile(dir.file("a.pcap"));
  REQUIRE(after.size() == 10);
  CHECK(after.back().bytes == frame_bytes(1000, 99));
  CHECK(log.count_of("File too large; 11 frames are not in it so far") == 1);
  CHECK(log.count_of("11 of 21 frames are not in it") == 1);
  CHECK(log.lines.size() == 2);
}

TEST_CASE("a FIFO's reader gets the stream") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  REQUIRE(::mkfifo(dir.file("fifo").c_str(), 0600) == 0);
  std::vector<Recorded> records;
  std::thread reader([&] { records = read_savefile(dir.file("fifo")); });
  std::optional<Capture> capture;
  REQUIRE(eventually([&] {
    try {
      capture.emplace(dir.file("fifo"), loop, log);
    } catch (const Error&) {  // the reader is not there yet
    }
    return capture.has_value();
  }));
  for (int i = 0; i < 500; ++i) observe(*capture, frame_bytes(1000, static_cast<uint8_t>(i)));
  capture.reset();
  reader.join();
  CHECK(records.size() == 500);
  CHECK(log.lines.empty());
}

TEST_CASE("a reader that stops reading costs frames, and never holds the loop") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  REQUIRE(::mkfifo(dir.file("fifo").c_str(), 0600) == 0);
  const Fd reader(::open(dir.file("fifo").c_str(), O_RDONLY | O_NONBLOCK));
  REQUIRE(reader);
  Capture capture(dir.file("fifo"), loop, log);
  const Bytes bytes = frame_bytes(60'000, 5);
  const uint64_t sent = 2 * kCaptureRingBytes / bytes.size();
  for (uint64_t i = 0; i < sent; ++i) observe(capture, bytes);
  CHECK(capture.frames_lost() > 0);
  CHECK(log.count_of("faster than it can be written") == 1);
  capture.close();
  CHECK(capture.frames_captured() + capture.frames_lost() == sent);
  CHECK(log.count_of("its reader has stopped reading") == 1);
  CHECK(log.lines.size() == 2);
}

TEST_CASE(
    "a reader that goes away ends the capture, also while no frame comes, and costs no signal") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  REQUIRE(::mkfifo(dir.file("fifo").c_str(), 0600) == 0);
  Fd reader(::open(dir.file("fifo").c_str(), O_RDONLY | O_NONBLOCK));
  Capture capture(dir.file("fifo"), loop, log);
  std::vector<std::string> troubles;
  std::vector<std::string> ends;
  capture.watch({.on_trouble = [&](const std::string& why) { troubles.push_back(why); },
                 .on_end = [&](const std::string& why) { ends.push_back(why); }});
  observe(capture, frame_bytes(100, 1));
  REQUIRE(eventually([&] { return capture.frames_captured() == 1; }));
  reader.reset();
  SUBCASE("silence") {}
  SUBCASE("frames") {
    observe(capture, frame_bytes(100, 1));
  }
  REQUIRE(eventually([&] {
    loop.tick(0);
    return !ends.empty();
  }));
  CHECK(ends == std::vector<std::string>{"its reader has gone away"});
  CHECK(troubles.empty());
  observe(capture, frame_bytes(100, 1));
  loop.tick(0);
  capture.close();
  REQUIRE(log.lines.size() == 1);
  CHECK(log.lines[0].ends_with("fifo: its reader has gone away, so it has ended, after 1 frame"));
}

TEST_CASE("trouble is told by itself, and what a reader left unread at the end is trouble") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  std::vector<std::string> troubles;
  const Capture::Watcher watcher{
      .on_trouble = [&](const std::string& why) { troubles.push_back(why); }};
  SUBCASE("the last frame before a silence") {
    Capture capture("/dev/full", loop, log);
    capture.watch(watcher);
    observe(capture, frame_bytes(100, 1));
    REQUIRE(eventually([&] {
      loop.tick(0);
      return !troubles.empty();
    }));
    CHECK(troubles == std::vector<std::string>{"No space left on device"});
    REQUIRE(log.lines.size() == 1);
    CHECK(log.lines[0] ==
          "capture /dev/full: No space left on device; 1 frame is not in it so far");
    capture.close();
    CHECK(log.lines.back() == "capture /dev/full: 1 of 1 frame is not in it");
  }
  SUBCASE("a reader that stands still") {
    REQUIRE(::mkfifo(dir.file("fifo").c_str(), 0600) == 0);
    const Fd reader(::open(dir.file("fifo").c_str(), O_RDONLY | O_NONBLOCK));
    Capture capture(dir.file("fifo"), loop, log);
    capture.watch(watcher);
    for (int i = 0; i < 10; ++i) observe(capture, frame_bytes(60'000, 5));
    capture.close();
    CHECK(capture.frames_lost() > 0);
    CHECK(troubles == std::vector<std::string>{"its reader has stopped reading"});
    CHECK(log.lines.size() == 1);
  }
}

TEST_CASE("a descriptor the user opened is written to as it stands") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  Fd writing(ends[1]);
  {
    Capture capture(fmt::format("/dev/fd/{}", writing.get()), loop, log);
    observe(capture, frame_bytes(20'000, 3));  // more than PIPE_BUF, less than the pipe
  }
  CHECK((::fcntl(writing.get(), F_GETFL) & O_NONBLOCK) == 0);
  writing.reset();
  CHECK(read_savefile(::fdopen(ends[0], "rb")).size() == 1);
}

TEST_CASE("what cannot be opened is one line that says why and what to do") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  REQUIRE(::mkfifo(dir.file("fifo").c_str(), 0600) == 0);
  const auto line = [&](const std::string& path) {
    try {
      const Capture capture(path, loop, log);
    } catch (const Error& error) {
      CHECK(error.exit_code() == EX_CANTCREAT);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string absent = dir.file("absent") + "/a.pcap";
  CHECK(line(absent) == fmt::format("cannot write capture {}: No such file or directory; make its "
                                    "directory first",
                                    absent));
  CHECK(line(dir.path) == fmt::format("cannot write capture {}: Is a directory; name a file in it",
                                      dir.path.string()));
  CHECK(line(dir.file("fifo")) ==
        fmt::format("cannot write capture {}: nobody reads this FIFO; start its reader first",
                    dir.file("fifo")));
  CHECK(line("/dev/fd/987") ==
        "cannot write capture /dev/fd/987: Bad file descriptor; choose another file");
  const Fd ours(::open(dir.file("ours").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  CHECK(line(fmt::format("/dev/fd/{}", ours.get()))
            .ends_with("Bad file descriptor; choose another file"));
}

TEST_CASE("the capture's thread leaves signals to the loop") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  const Capture capture(dir.file("a.pcap"), loop, log);
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(::sigismember(&after, SIGTERM) == ::sigismember(&before, SIGTERM));
  static volatile sig_atomic_t handled_here = 0;
  static const pthread_t loop_thread = ::pthread_self();
  struct sigaction old {};
  struct sigaction action {};
  action.sa_handler = [](int) { handled_here = ::pthread_equal(::pthread_self(), loop_thread); };
  REQUIRE(::sigaction(SIGUSR1, &action, &old) == 0);
  ::kill(::getpid(), SIGUSR1);
  CHECK(eventually([&] { return handled_here == 1; }));
  ::sigaction(SIGUSR1, &old, nullptr);
}

TEST_CASE("the ring gives back what it took, across its end, until it is full") {
  constexpr size_t kSize = 256 * 1024;
  RecordRing ring(kSize);
  std::mt19937 random(11);
  uint64_t put = 0;
  uint64_t got = 0;
  bool was_full = false;
  const auto size_of = [](uint64_t i) { return 14 + (i * 104'729) % 65'000; };
  for (int round = 0; round < 400; ++round) {
    const auto puts = random() % 6;
    for (unsigned i = 0; i < puts; ++i) {
      const Bytes bytes = frame_bytes(size_of(put), static_cast<uint8_t>(put));
      Frame frame;
      iovec body;
      REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
      if (!ring.add(put, frame)) {
        was_full = true;
        break;
      }
      ++put;
    }
    ring.publish();
    const auto takes = random() % 6;
    RecordRing::Record record{};
    for (unsigned i = 0; i < takes && ring.next(record); ++i, ++got) {
      REQUIRE(record.wall_ns == got);
      REQUIRE(Bytes(record.bytes.begin(), record.bytes.end()) ==
              frame_bytes(size_of(got), static_cast<uint8_t>(got)));
    }
    ring.release();
  }
  CHECK(was_full);
  CHECK(got > 100);
}

}  // namespace
