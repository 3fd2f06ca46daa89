// A capture to pcapng: which port a frame is shown at, what it is told of, and what becomes of the
// file when the disk is full.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netstack/base/error.h"
#include "netstack/port/memory_port.h"
#include "netstack/port/shared_port.h"
#include "tests/unit/capture_fixture.h"
#include "tests/unit/file_size_limit.h"
#include "tests/unit/pcapng_fixture.h"
#include "vlan/switch.h"

namespace {

using namespace tests;

std::vector<std::string> interfaces_of(const PcapngContents& contents) {
  std::vector<std::string> names;
  for (const PcapngFrame& frame : contents.frames) names.push_back(frame.interface);
  return names;
}

// Has something to say about what it delivers.
class TellingPort final : public Port {
 public:
  explicit TellingPort(std::string name) : Port(std::move(name), kFrameBytesMax) {}

  void tell(size_t frame_count, std::vector<FrameNote> notes) {
    const Bytes bytes = frame_bytes(60, 0x42);
    FrameBatch<kBurstFrames> batch;
    for (size_t i = 0; i < frame_count; ++i) batch.add(bytes.data(), bytes.size());
    notes_ = std::move(notes);
    deliver(batch.frames());
    notes_.clear();
  }
  std::span<const FrameNote> notes() const noexcept override { return notes_; }

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override { return burst.size(); }

 private:
  std::vector<FrameNote> notes_;
};

struct Bench {
  Bench() { fabric.mirror_to(&capture); }
  PcapngContents contents() {
    capture.close();
    return read_pcapng(dir.file("a.pcapng"));
  }

  TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  Capture capture{dir.file("a.pcapng"), loop, log, "lanyard 9"};
  vlan::Switch fabric{clock, vlan::FdbConfig(1)};
};

}  // namespace

TEST_CASE("each port is an interface under its name, as it comes") {
  MemoryPort first("first");
  MemoryPort silent("silent");
  MemoryPort second("second");
  MemoryPort late("late");
  Bench bench;
  bench.fabric.attach(first);
  bench.fabric.attach(silent);
  bench.fabric.attach(second);
  first.inject(frame_bytes(60, 1));
  second.inject(frame_bytes(60, 2));
  first.inject(frame_bytes(60, 1));
  bench.fabric.detach(second);
  CHECK(bench.fabric.attach(late) == 3);  // in the place of "second"
  late.inject(frame_bytes(60, 3));

  const PcapngContents contents = bench.contents();
  CHECK(contents.application == "lanyard 9");
  using Names = std::vector<std::pair<std::string, std::string>>;
  CHECK(contents.interfaces == Names{{"first", "port 1 of the switch"},
                                     {"second", "port 3 of the switch"},
                                     {"late", "port 3 of the switch"}});
  CHECK(interfaces_of(contents) == std::vector<std::string>{"first", "second", "first", "late"});
  CHECK(contents.statistics.at("first").received == 2);
  CHECK(contents.statistics.at("late").received == 1);
  CHECK(contents.statistics.at("late").dropped == 0);
}

TEST_CASE("endpoints that share a port are told apart, also when one leaves and another comes") {
  std::array<TellingPort, 3> endpoints{TellingPort("a"), TellingPort("b"), TellingPort("c")};
  SharedPort shared("port 1");
  Bench bench;
  bench.fabric.attach(shared);
  shared.plug(endpoints[0]);
  shared.plug(endpoints[1]);
  endpoints[0].tell(1, {});
  endpoints[1].tell(1, {{0, "because"}});
  shared.unplug(endpoints[0]);
  shared.plug(endpoints[2]);
  endpoints[2].tell(1, {});
  endpoints[1].tell(1, {});
  const PcapngContents contents = bench.contents();
  CHECK(interfaces_of(contents) == std::vector<std::string>{"a", "b", "c", "b"});
  CHECK(contents.frames[1].comment == "because");
  CHECK(contents.frames[2].comment.empty());
  CHECK(contents.interfaces.size() == 3);
  CHECK(&shared.origin() == &shared);
  CHECK(shared.notes().empty());
}

TEST_CASE("a note is the comment of its own frame and of no other") {
  TellingPort port("gateway");
  Bench bench;
  bench.fabric.attach(port);
  port.tell(4, {{1, "one"}, {3, "three → é"}});
  port.tell(2, {});
  port.tell(1, {{0, "zero"}});
  std::vector<std::string> comments;
  for (const PcapngFrame& frame : bench.contents().frames) comments.push_back(frame.comment);
  CHECK(comments == std::vector<std::string>{"", "one", "", "three → é", "", "", "zero"});
}

TEST_CASE("interfaces are limited; those that come later are one") {
  InterfaceTable table;
  for (size_t i = 0; i < kCaptureInterfacesMax + 10U; ++i) {
    const NamedPort port(fmt::format("vde {}", i));
    CHECK(table.number_of(port) == std::min<size_t>(i, kCaptureInterfacesMax - 1U));
  }
  CHECK(table.number_of(NamedPort("vde 0")) == 0);
  CHECK(table.number_of(NamedPort("vde 7")) == 7);
  CHECK(table.at(7).name == "vde 7");
  CHECK(table.at(kCaptureInterfacesMax - 1).name == "others");
}

TEST_CASE("a capture that saw nothing is a file that libpcap takes") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  { const Capture capture(dir.file("a.pcapng"), loop, log); }
  CHECK(read_savefile(dir.file("a.pcapng")).empty());
  CHECK(read_pcapng(dir.file("a.pcapng")).interfaces.size() == 1);
}

TEST_CASE("the file's name chooses the format") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  for (const char* name : {"a.pcapng", "a.ntar", "a.pcap", "a", "pcapng", "a.pcapng.old"}) {
    CAPTURE(name);
    { const Capture capture(dir.file(name), loop, log); }
    const Bytes bytes = read_bytes(dir.file(name));
    REQUIRE(bytes.size() > 4);
    const bool pcapng = std::string_view(name) == "a.pcapng" || std::string_view(name) == "a.ntar";
    CHECK(bytes[0] == (pcapng ? 0x0a : 0x4d));
  }
}

TEST_CASE("a file that may not grow loses a port's first frames and describes it when it may") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  Capture capture(dir.file("a.pcapng"), loop, log);
  const NamedPort first("first");
  const NamedPort late("late");
  std::optional<FileSizeLimit> limit(10'001);
  for (int i = 0; i < 20; ++i) observe(capture, frame_bytes(1000, 7), first);
  for (int i = 0; i < 5; ++i) observe(capture, frame_bytes(1000, 8), late);
  REQUIRE(eventually([&] { return capture.frames_captured() + capture.frames_lost() == 25; }));
  const PcapngContents full = read_pcapng(dir.file("a.pcapng"));  // whole blocks, nothing else
  limit.reset();
  CHECK(full.frames.size() == capture.frames_captured());
  CHECK(full.frames.size() == 9);  // of 1044 bytes each
  CHECK(full.interfaces.size() == 1);

  observe(capture, frame_bytes(1000, 9), late);
  observe(capture, frame_bytes(1000, 9), first);
  capture.close();
  const PcapngContents contents = read_pcapng(dir.file("a.pcapng"));
  CHECK(read_savefile(dir.file("a.pcapng")).size() == 11);
  CHECK(contents.frames.size() == 11);
  CHECK(contents.frames[9].interface == "late");
  CHECK(contents.frames[10].interface == "first");
  CHECK(contents.statistics.at("first").received == 21);
  CHECK(contents.statistics.at("first").dropped == 11);
  CHECK(contents.statistics.at("late").received == 6);
  CHECK(contents.statistics.at("late").dropped == 5);
  CHECK(log.count_of("16 of 27 frames are not in it") == 1);
}

TEST_CASE("a disk that is full from the start costs frames and nothing else") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  std::filesystem::create_symlink("/dev/full", dir.file("a.pcapng"));
  Capture capture(dir.file("a.pcapng"), loop, log);
  for (int i = 0; i < 10; ++i) observe(capture, frame_bytes(100, 1));
  capture.close();
  CHECK(capture.frames_lost() == 10);
  CHECK(log.count_of("10 of 10 frames are not in it") == 1);
}

TEST_CASE("one file takes one capture at a time, and the one refused spoils nothing") {
  const TemporaryDirectory dir;
  SystemClock clock;
  Loop loop{clock};
  MemoryLog log;
  const std::string path = dir.file("a.pcapng");
  std::filesystem::create_symlink(path, dir.file("other-name.pcapng"));
  {
    Capture capture(path, loop, log);
    observe(capture, frame_bytes(100, 1));
    REQUIRE(eventually([&] { return capture.frames_captured() == 1; }));
    for (const std::string& name : {path, dir.file("other-name.pcapng")}) {
      try {
        const Capture second(name, loop, log);
        FAIL("a second capture began");
      } catch (const Error& error) {
        CHECK(error.exit_code() == EX_CANTCREAT);
        CHECK(error.what() ==
              fmt::format("cannot write capture {}: another capture is being written to it; "
                          "choose another file, or end that one first",
                          name));
      }
    }
  }
  CHECK(read_savefile(path).size() == 1);
  { const Capture next(path, loop, log); }
  CHECK(read_savefile(path).empty());
}

TEST_CASE("what goes to standard output is known by name") {
  for (const char* path :
       {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1"}) {
    CHECK_MESSAGE(is_standard_output(path), path);
  }
  for (const char* path : {"a.pcap", "/dev/fd/2", "/dev/fd/11", "./-", ""}) {
    CHECK_MESSAGE(!is_standard_output(path), path);
  }
}
