#include "netstack/base/read_text.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>

#include "netstack/base/fd.h"
#include "tests/unit/port_fixture.h"

using netstack::Fd;
using netstack::kNoDeadline_ns;

namespace {

constexpr size_t kRoomy_size = 1 << 20;

struct Reader {
  netstack::ManualClock clock;
  std::string text;
  int read(const std::string& path, uint64_t deadline_ns = kNoDeadline_ns) {
    return netstack::read_text(path, text, kRoomy_size, clock, deadline_ns);
  }
};

std::string path_of(const Fd& fd) {
  return fmt::format("/dev/fd/{}", fd.get());
}

}  // namespace

TEST_CASE("a file is read whole, and no more of it than is wanted") {
  const TemporaryDirectory folder;
  const std::string path = folder.file("text");
  const std::string written(10'000, 'x');
  std::ofstream(path) << written;
  Reader reader;
  CHECK(reader.read(path, 0) == 0);  // what is there needs no time
  CHECK(reader.text == written);
  std::string text;
  CHECK(netstack::read_text(path, text, written.size(), reader.clock) == 0);
  text.clear();
  CHECK(netstack::read_text(path, text, written.size() - 1, reader.clock) == EFBIG);
  CHECK(reader.read(folder.file("absent")) == ENOENT);
  CHECK(reader.read("/") == EISDIR);
}

TEST_CASE("a FIFO is waited for until the deadline, and not at all without one") {
  const TemporaryDirectory folder;
  const std::string path = folder.file("fifo");
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  Reader reader;
  CHECK(reader.read(path) == ENXIO);
  CHECK(reader.read(path, reader.clock.monotonic_ns() + netstack::kMillisecond_ns) == ETIMEDOUT);
  CHECK(reader.text.empty());
}

TEST_CASE("a pipe ends when its writer has left, whatever it said") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  Reader reader;
  SUBCASE("something, and it stays") {
    REQUIRE(::write(writing.get(), "early", 5) == 5);
    CHECK(reader.read(path_of(reading), 0) == ETIMEDOUT);
    CHECK(reader.text == "early");
  }
  SUBCASE("something, and it leaves") {
    REQUIRE(::write(writing.get(), "all", 3) == 3);
    writing.reset();
    CHECK(reader.read(path_of(reading)) == 0);
    CHECK(reader.text == "all");
  }
  SUBCASE("nothing") {
    writing.reset();
    CHECK(reader.read(path_of(reading)) == 0);
    CHECK(reader.text.empty());
  }
}
