#include "netstack/port/pipe_port.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <csignal>

#include "netstack/base/error.h"
#include "tests/unit/port_fixture.h"

using namespace netstack;

namespace {

struct Pipes {
  Pipes() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    in = Fd(ends[0]);
    feed = Fd(ends[1]);
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    drink = Fd(ends[0]);
    out = Fd(ends[1]);
    ::fcntl(drink.get(), F_SETFL, O_NONBLOCK);
    port = host.add(std::make_unique<PipePort>(loop, host, in.get(), out.get(), "pipes"));
  }
  ~Pipes() {
    for (auto& owned : host.ports) owned->detach();
    host.ports.clear();
  }
  Bytes drink_all() {
    Bytes bytes;
    Bytes piece(100'000);
    for (;;) {
      const ssize_t got = ::read(drink.get(), piece.data(), piece.size());
      if (got <= 0) return bytes;
      bytes.insert(bytes.end(), piece.begin(), piece.begin() + got);
    }
  }

  SystemClock clock;
  Loop loop{clock};
  TestHost host{loop};
  Fd in, feed, drink, out;
  Port* port = nullptr;
};

Bytes framed(const std::vector<Bytes>& frames) {
  Bytes bytes;
  for (const Bytes& frame : frames) {
    bytes.push_back(static_cast<uint8_t>(frame.size() >> 8U));
    bytes.push_back(static_cast<uint8_t>(frame.size()));
    bytes.insert(bytes.end(), frame.begin(), frame.end());
  }
  return bytes;
}

std::vector<Bytes> some_frames(uint32_t count, size_t size_max) {
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < count; ++i) frames.push_back(numbered_frame(14 + i * 77 % size_max, i));
  return frames;
}

void feed_bytes(Pipes& pipes, const Bytes& bytes, size_t from, size_t size) {
  REQUIRE(::write(pipes.feed.get(), &bytes[from], size) == static_cast<ssize_t>(size));
}

}  // namespace

TEST_CASE("frames arrive however the stream is cut") {
  const std::vector<Bytes> frames = some_frames(40, 1400);
  const Bytes bytes = framed(frames);
  for (const size_t piece_size : {size_t{1}, size_t{7}, size_t{1000}, size_t{20'000}}) {
    CAPTURE(piece_size);
    Pipes pipes;
    for (size_t from = 0; from < bytes.size(); from += piece_size) {
      feed_bytes(pipes, bytes, from, std::min(piece_size, bytes.size() - from));
      pipes.loop.tick(0);
    }
    REQUIRE(tick_until(pipes.loop, [&] { return pipes.host.received.size() == frames.size(); }));
    CHECK(pipes.host.received == frames);
  }
}

TEST_CASE("runts are counted and the stream goes on") {
  Pipes pipes;
  const Bytes good = numbered_frame(65'535, 1);
  const Bytes bytes = framed({Bytes(3), {}, Bytes(13), good});
  for (size_t from = 0; from < bytes.size(); from += 30'000) {
    feed_bytes(pipes, bytes, from, std::min<size_t>(30'000, bytes.size() - from));
    pipes.loop.tick(0);
  }
  REQUIRE(tick_until(pipes.loop, [&] { return pipes.host.received.size() == 1; }));
  CHECK(pipes.host.received[0] == good);
  CHECK(pipes.port->counters().dropped(DropReason::kRunt) == 3);
}

TEST_CASE("a reader that is late gets everything up to the limit, whole and in order") {
  Pipes pipes;
  std::vector<Bytes> frames;  // of one size, so that after the first that is dropped all are
  for (uint32_t i = 0; i < 2000; ++i) frames.push_back(numbered_frame(1400, i));
  send_all(*pipes.port, frames);
  const auto& counters = pipes.port->counters();
  CHECK(counters.dropped() == counters.dropped(DropReason::kQueueFull));
  CHECK(counters.dropped() > 0);
  CHECK(counters.egress_frames + counters.dropped() == frames.size());
  std::vector<Bytes> taken = frames;
  taken.resize(counters.egress_frames);
  const Bytes expected = framed(taken);
  Bytes got;
  REQUIRE(tick_until(pipes.loop, [&] {
    const Bytes more = pipes.drink_all();
    got.insert(got.end(), more.begin(), more.end());
    return got.size() >= expected.size();
  }));
  CHECK((got == expected));

  send_all(*pipes.port, {frames[5]});
  CHECK(pipes.drink_all() == framed({frames[5]}));
}

TEST_CASE("the end of the input ends the port; a reader that is gone does not") {
  Pipes pipes;
  pipes.drink.reset();
  std::signal(SIGPIPE, SIG_IGN);
  send_all(*pipes.port, {numbered_frame(60, 1)});
  send_all(*pipes.port, {numbered_frame(60, 2)});
  CHECK(pipes.port->counters().dropped(DropReason::kPeerGone) >= 1);
  feed_bytes(pipes, framed({numbered_frame(60, 3)}), 0, 62);
  pipes.feed.reset();
  REQUIRE(tick_until(pipes.loop, [&] { return pipes.host.ports.empty(); }));
  CHECK(pipes.host.received == std::vector<Bytes>{numbered_frame(60, 3)});
  CHECK(pipes.host.reasons == std::vector<std::string>{""});
  CHECK((::fcntl(pipes.in.get(), F_GETFL) & O_NONBLOCK) == 0);  // put back
}

TEST_CASE("one socket under two numbers is found as it was left") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const Fd in(ends[0]), peer(ends[1]);
  const Fd out(::dup(in.get()));
  SystemClock clock;
  Loop loop(clock);
  TestHost host(loop);
  {
    PipePort port(loop, host, in.get(), out.get(), "socket");
    CHECK((::fcntl(in.get(), F_GETFL) & O_NONBLOCK) != 0);
    port.detach();
  }
  CHECK((::fcntl(in.get(), F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("a file, which cannot be waited for, is read to its end; so is /dev/null") {
  const TemporaryDirectory directory;
  const std::vector<Bytes> frames = some_frames(500, 1400);  // more than one read holds
  for (const bool null : {false, true}) {
    const std::string path = null ? "/dev/null" : directory.file("frames");
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(file);
    const Bytes bytes = framed(frames);
    if (!null)
      REQUIRE(::write(file.get(), bytes.data(), bytes.size()) ==
              static_cast<ssize_t>(bytes.size()));
    ::lseek(file.get(), 0, SEEK_SET);
    SystemClock clock;
    Loop loop(clock);
    TestHost host(loop);
    const Fd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    Port* port =
        host.add(std::make_unique<PipePort>(loop, host, file.get(), nowhere.get(), "file"));
    send_all(*port, {frames[0]});
    CHECK(port->counters().dropped() == 0);
    REQUIRE(tick_until(loop, [&] { return host.ports.empty(); }));
    CHECK(host.reasons == std::vector<std::string>{""});
    CHECK(host.received.size() == (null ? 0 : frames.size()));
    CHECK(loop.next_deadline_ns() == UINT64_MAX);
  }
}
