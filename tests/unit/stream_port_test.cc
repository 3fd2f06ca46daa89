#include "netstack/port/stream_port.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "netstack/base/error.h"
#include "netstack/port/stream_listener.h"
#include "tests/unit/port_fixture.h"

using namespace netstack;

namespace {

Bytes framed(const Bytes& frame) {
  const auto size = static_cast<uint32_t>(frame.size());
  Bytes bytes{static_cast<uint8_t>(size >> 24U), static_cast<uint8_t>(size >> 16U),
              static_cast<uint8_t>(size >> 8U), static_cast<uint8_t>(size)};
  bytes.insert(bytes.end(), frame.begin(), frame.end());
  return bytes;
}

Bytes framed(const std::vector<Bytes>& frames) {
  Bytes stream;
  for (const Bytes& frame : frames) {
    const Bytes one = framed(frame);
    stream.insert(stream.end(), one.begin(), one.end());
  }
  return stream;
}

// Takes a stream apart, as QEMU would.
std::vector<Bytes> unframed(const Bytes& stream) {
  std::vector<Bytes> frames;
  size_t at = 0;
  while (at + 4 <= stream.size()) {
    const size_t size = static_cast<size_t>(stream[at]) << 24U |
                        static_cast<size_t>(stream[at + 1]) << 16U |
                        static_cast<size_t>(stream[at + 2]) << 8U | stream[at + 3];
    at += 4;
    REQUIRE(at + size <= stream.size());
    frames.emplace_back(stream.begin() + static_cast<ptrdiff_t>(at),
                        stream.begin() + static_cast<ptrdiff_t>(at + size));
    at += size;
  }
  REQUIRE(at == stream.size());
  return frames;
}

// A port and its peer on a socket pair.
struct Pair {
  Pair() : loop(clock), host(loop) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    peer.reset(ends[0]);
    port = host.add(std::make_unique<StreamPort>(loop, host, Fd(ends[1]), "stream 1"));
  }
  void write(const Bytes& bytes) {
    size_t at = 0;
    while (at < bytes.size()) {
      const ssize_t put = ::send(peer.get(), &bytes[at], bytes.size() - at, MSG_NOSIGNAL);
      if (put > 0) {
        at += static_cast<size_t>(put);
      } else {
        REQUIRE(errno == EAGAIN);
        loop.tick(0);
      }
    }
    loop.tick(0);
  }
  size_t read_some(Bytes& into, size_t size_max) {
    Bytes part(size_max);
    const ssize_t got = ::recv(peer.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (got <= 0) return 0;
    into.insert(into.end(), part.begin(), part.begin() + got);
    return static_cast<size_t>(got);
  }
  Bytes read_everything(size_t step_size = 65'536) {
    Bytes all;
    for (int idle = 0; idle < 3;) {
      idle = read_some(all, step_size) == 0 ? idle + 1 : 0;
      loop.tick(0);
    }
    return all;
  }

  SystemClock clock;
  Loop loop;
  TestHost host;
  Fd peer;
  Port* port = nullptr;
};

}  // namespace

TEST_CASE("frames arrive whole wherever the stream is cut") {
  const std::vector<Bytes> frames{numbered_frame(60, 1), numbered_frame(14, 2),
                                  numbered_frame(300, 3)};
  const Bytes stream = framed(frames);
  Pair pair;
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    pair.host.received.clear();
    pair.write(Bytes(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(cut)));
    pair.write(Bytes(stream.begin() + static_cast<ptrdiff_t>(cut), stream.end()));
    REQUIRE(pair.host.received == frames);
  }
  for (const uint8_t byte : stream) pair.write({byte});
  CHECK(pair.host.received.size() == 2 * frames.size());
  CHECK(pair.host.reasons.empty());
}

TEST_CASE("many frames in one read are handed on in bursts of bounded size") {
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 5000; ++i) frames.push_back(numbered_frame(60 + i % 1455, i));
  Pair pair;
  pair.write(framed(frames));
  CHECK(tick_until(pair.loop, [&] { return pair.host.received.size() == frames.size(); }));
  CHECK(pair.host.received == frames);
  CHECK(pair.host.largest_burst == kBurstFrames);
  CHECK(pair.port->counters().ingress_frames == frames.size());
}

TEST_CASE("the largest frame passes both ways") {
  const Bytes frame = numbered_frame(kFrameBytesMax, 1);
  Pair pair;
  pair.write(framed(frame));
  CHECK(tick_until(pair.loop, [&] { return pair.host.received.size() == 1; }));
  CHECK(pair.host.received[0] == frame);
  send_all(*pair.port, {frame});
  CHECK(unframed(pair.read_everything()) == std::vector<Bytes>{frame});
}

TEST_CASE("a peer that announces an impossible frame loses its port, and only that") {
  const Bytes good = numbered_frame(60, 1);
  for (const uint32_t length : {uint32_t{0}, kFrameBytesMax + 1, uint32_t{0xffffffff}}) {
    CAPTURE(length);
    Pair pair;
    Bytes stream = framed(good);
    for (int shift = 24; shift >= 0; shift -= 8)
      stream.push_back(static_cast<uint8_t>(length >> shift));
    pair.write(stream);
    CHECK(pair.host.received == std::vector<Bytes>{good});
    REQUIRE(pair.host.reasons.size() == 1);
    CHECK(pair.host.reasons[0].find(fmt::format("of {} bytes", length)) != std::string::npos);
    CHECK(pair.host.ports.empty());
    CHECK(at_end(pair.peer.get()));
  }
}

TEST_CASE("a runt is dropped and counted; the stream goes on") {
  Pair pair;
  const Bytes good = numbered_frame(60, 1);
  Bytes stream = framed(Bytes(1, 0xff));
  for (const Bytes& part : {framed(Bytes(13, 0xff)), framed(good)}) {
    stream.insert(stream.end(), part.begin(), part.end());
  }
  pair.write(stream);
  CHECK(pair.host.received == std::vector<Bytes>{good});
  CHECK(pair.port->counters().dropped(DropReason::kRunt) == 2);
  CHECK(pair.host.reasons.empty());
}

TEST_CASE("a peer that closes leaves silently, also inside a frame") {
  const Bytes good = numbered_frame(60, 1);
  for (const size_t extra : {size_t{0}, size_t{3}, size_t{20}}) {
    CAPTURE(extra);
    Pair pair;
    Bytes stream = framed(good);
    const Bytes cut = framed(numbered_frame(100, 2));
    stream.insert(stream.end(), cut.begin(), cut.begin() + static_cast<ptrdiff_t>(extra));
    pair.write(stream);
    pair.peer.reset();
    CHECK(tick_until(pair.loop, [&] { return pair.host.ports.empty(); }));
    CHECK(pair.host.received == std::vector<Bytes>{good});
    CHECK(pair.host.reasons == std::vector<std::string>{""});
  }
}

TEST_CASE("a peer that does not read: the queue fills, the rest is counted, what it got is whole") {
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 8000; ++i) frames.push_back(numbered_frame(18 + i * 37 % 1497, i));
  Pair pair;
  send_all(*pair.port, frames);
  while (pair.port->counters().dropped() == 0) send_all(*pair.port, frames);
  const PortCounters& counters = pair.port->counters();
  const uint64_t taken = counters.egress_frames;
  CHECK(taken > 0);
  CHECK(counters.dropped() == counters.dropped(DropReason::kQueueFull));
  CHECK((taken + counters.dropped()) % frames.size() == 0);

  // Odd steps, so that the queue is drained at every place within a frame.
  const std::vector<Bytes> got = unframed(pair.read_everything(40'009));
  REQUIRE(got.size() == taken);
  for (size_t i = 0; i < frames.size() && i < got.size(); ++i) REQUIRE(got[i] == frames[i]);

  // Drained: the next frame goes straight out.
  send_all(*pair.port, {frames[0]});
  CHECK(unframed(pair.read_everything()) == std::vector<Bytes>{frames[0]});
}

TEST_CASE("frames sent while earlier ones wait keep their place") {
  Pair pair;
  std::vector<Bytes> frames;
  Bytes stream;
  for (uint32_t i = 0; i < 20'000; ++i) {
    frames.push_back(numbered_frame(1514, i));
    send_all(*pair.port, {frames.back()});
    if (i % 3 == 0) pair.read_some(stream, 4001);
    if (i % 5 == 0) pair.loop.tick(0);
    if (pair.port->counters().dropped() > 0) break;
  }
  const uint64_t taken = pair.port->counters().egress_frames;
  const Bytes rest = pair.read_everything();
  stream.insert(stream.end(), rest.begin(), rest.end());
  frames.resize(taken);
  CHECK(unframed(stream) == frames);
}

TEST_CASE("a frame in many pieces goes out as one") {
  for (const size_t piece_count : {size_t{3}, size_t{100}, size_t{1000}}) {
    CAPTURE(piece_count);
    Pair pair;
    const Bytes bytes = numbered_frame(14 + 3 * piece_count, 1);
    std::vector<iovec> pieces;
    for (size_t i = 0; i < piece_count; ++i) {
      pieces.push_back({const_cast<uint8_t*>(&bytes[14 + 3 * i]), 3});
    }
    FrameView view(bytes);
    std::array<Frame, 5> burst;
    burst.fill(view.burst()[0]);
    burst[1].body = burst[3].body = pieces;
    pair.port->send(burst);
    CHECK(unframed(pair.read_everything()) == std::vector<Bytes>(5, bytes));
  }
}

TEST_CASE("frames for a peer that has gone are counted, and what it sent last still arrives") {
  Pair pair;
  std::vector<Bytes> frames(6000, numbered_frame(1514, 7));
  send_all(*pair.port, frames);
  const Bytes last = numbered_frame(60, 9);
  const Bytes stream = framed(last);
  REQUIRE(::send(pair.peer.get(), stream.data(), stream.size(), 0) ==
          static_cast<ssize_t>(stream.size()));
  pair.peer.reset();
  send_all(*pair.port, {frames[0]});
  CHECK(tick_until(pair.loop, [&] { return pair.host.ports.empty(); }));
  CHECK(pair.host.received == std::vector<Bytes>{last});
  REQUIRE(pair.host.final_counters.size() == 1);
  const PortCounters& counters = pair.host.final_counters[0];
  CHECK(counters.dropped(DropReason::kPeerGone) > 0);
  CHECK(counters.egress_frames + counters.dropped() == frames.size() + 1);
  CHECK(counters.egress_bytes == counters.egress_frames * 1514);
}

TEST_CASE("sending to a peer that closed without reading is not fatal") {
  Pair pair;
  pair.peer.reset();
  send_all(*pair.port, {numbered_frame(60, 1)});
  send_all(*pair.port, {numbered_frame(60, 2)});
  CHECK(pair.port->counters().dropped(DropReason::kPeerGone) == 2);
  CHECK(tick_until(pair.loop, [&] { return pair.host.ports.empty(); }));
  CHECK(pair.host.reasons == std::vector<std::string>{""});
}

TEST_CASE("a listener takes any number of clients, and leaves nothing") {
  TemporaryDirectory directory;
  const size_t fds = open_fd_count();
  {
    SystemClock clock;
    Loop loop(clock);
    TestHost host(loop);
    MemoryLog log;
    StreamListener listener(loop, host, log, directory.file("stream"));
    std::vector<Fd> clients;
    for (size_t i = 0; i < 100; ++i) {
      clients.push_back(connect_unix(directory.file("stream")));
      CHECK(tick_until(loop, [&] { return host.ports.size() == i + 1; }));
    }
    CHECK(host.ports[0]->name() == "stream 1");
    CHECK(host.ports[99]->name() == "stream 100");
    clients.clear();
    CHECK(tick_until(loop, [&] { return host.ports.empty(); }));
    CHECK(log.lines.empty());

    host.capacity = 0;
    const Fd late = connect_unix(directory.file("stream"));
    CHECK(tick_until(loop, [&] { return at_end(late.get()); }));
    CHECK(log.count("the LAN is full") == 1);
  }
  CHECK(files_in(directory.path).empty());
  CHECK(open_fd_count() == fds);
}

namespace {

// While it lives, the process may open `count` more descriptors.
class FdShortage {
 public:
  explicit FdShortage(rlim_t count) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const int lowest_free = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
    REQUIRE(lowest_free >= 0);
    ::close(lowest_free);
    const rlimit now{static_cast<rlim_t>(lowest_free) + count, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &now) == 0);
  }
  ~FdShortage() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FdShortage(const FdShortage&) = delete;
  FdShortage& operator=(const FdShortage&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("out of descriptors: clients are turned away at once, said once, and later served") {
  TemporaryDirectory directory;
  ManualClock clock;
  Loop loop(clock);
  TestHost host(loop);
  MemoryLog log;
  StreamListener listener(loop, host, log, directory.file("stream"));
  // First a line for another reason: UBSan examines each class it meets once, by means of a pipe,
  // and there is none to be had later on.
  host.capacity = 0;
  const Fd early = connect_unix(directory.file("stream"));
  CHECK(tick_until(loop, [&] { return at_end(early.get()); }));
  host.capacity = 10;

  std::vector<Fd> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(connect_unix(directory.file("stream")));

  bool all_ended = false;
  {
    const FdShortage shortage(0);
    all_ended = tick_until(loop, [&] {
      return std::all_of(clients.begin(), clients.end(),
                         [](const Fd& fd) { return at_end(fd.get()); });
    });
  }
  CHECK(all_ended);
  CHECK(host.ports.empty());
  CHECK(log.count("ulimit -n") == 1);

  const Fd later = connect_unix(directory.file("stream"));
  CHECK(tick_until(loop, [&] { return host.ports.size() == 1; }));
}

TEST_CASE("without even a reserve descriptor the listener rests, and serves when it can again") {
  TemporaryDirectory directory;
  ManualClock clock;
  Loop loop(clock);
  TestHost host(loop);
  MemoryLog log;
  log.lines.reserve(8);
  const Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(directory.file("stream"));
  std::unique_ptr<StreamListener> listener;
  {
    const FdShortage shortage(1);  // the listening socket, and nothing for the reserve
    listener = std::make_unique<StreamListener>(loop, host, log, directory.file("stream"));
    REQUIRE(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
            0);
    for (int i = 0; i < 10; ++i) loop.tick(0);
    clock.advance_ns(kAcceptPause_ns);
    for (int i = 0; i < 10; ++i) loop.tick(0);
  }
  CHECK(host.ports.empty());
  loop.tick(0);
  CHECK(host.ports.empty());  // it rests
  clock.advance_ns(kAcceptPause_ns);
  CHECK(tick_until(loop, [&] { return host.ports.size() == 1; }));
  CHECK_FALSE(at_end(client.get()));
  CHECK(log.count("ulimit -n") == 1);
}
