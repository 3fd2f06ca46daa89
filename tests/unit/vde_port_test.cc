#include <doctest/doctest.h>
#include <fcntl.h>

#include <chrono>
#include <fstream>
#include <future>

#include "netstack/base/error.h"
#include "netstack/port/lan_directory.h"
#include "netstack/vde/vde_listener.h"
#include "tests/unit/port_fixture.h"
#include "tests/unit/stock_vdeplug.h"

using namespace netstack;

namespace {

// A LAN directory with a ctl socket, on a clock that stands still.
struct Lan {
  Lan() : loop(clock), host(loop), directory(temporary.file("lan")) {
    listener = std::make_unique<VdeListener>(loop, host, log, directory);
  }
  ~Lan() {
    host.ports.clear();
    listener.reset();
  }
  bool settle(size_t port_count) {
    return tick_until(loop, [&] { return host.ports.size() == port_count; });
  }

  TemporaryDirectory temporary;
  ManualClock clock;
  Loop loop;
  TestHost host;
  MemoryLog log;
  LanDirectory directory;
  std::unique_ptr<VdeListener> listener;
};

// A stock client. vde_open waits for our answer, so it runs beside the loop.
class Plug {
 public:
  explicit Plug(Lan& lan, int port_number = 0, const char* description = "test:") {
    auto opening = std::async(std::launch::async, [&] {
      vde_open_args arguments{port_number, nullptr, 0700};
      std::string path = lan.directory.path();
      std::string text = description;
      return vde_open(path.data(), text.data(), &arguments);
    });
    tick_until(lan.loop, [&] {
      return opening.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    });
    plug_ = opening.get();
    if (plug_ != nullptr) ::fcntl(vde_datafd(plug_), F_SETFL, O_NONBLOCK);
  }
  ~Plug() { close(); }
  Plug(Plug&& other) noexcept : plug_(std::exchange(other.plug_, nullptr)) {}
  Plug& operator=(Plug&&) = delete;

  explicit operator bool() const { return plug_ != nullptr; }
  void close() {
    if (plug_ != nullptr) vde_close(std::exchange(plug_, nullptr));
  }
  bool send(const Bytes& frame) {
    return vde_send(plug_, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
  }
  Bytes receive() {  // empty: nothing there
    Bytes frame(70'000);
    const ssize_t got = vde_recv(plug_, frame.data(), frame.size(), 0);
    frame.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return frame;
  }
  int data_fd() const { return vde_datafd(plug_); }
  int ctl_fd() const { return vde_ctlfd(plug_); }

 private:
  VDECONN* plug_;
};

// A request as a client would send it, and then made wrong.
struct Request {
  uint32_t magic = kVdeMagic;
  uint32_t version = kVdeVersion;
  uint32_t type = 0;
  uint16_t family = AF_UNIX;
  std::string path;
  std::string description = "raw client";

  Bytes bytes() const {
    Bytes out(122);
    std::memcpy(&out[0], &magic, 4);
    std::memcpy(&out[4], &version, 4);
    std::memcpy(&out[8], &type, 4);
    std::memcpy(&out[12], &family, 2);
    std::memcpy(&out[14], path.data(), path.size());
    out.insert(out.end(), description.begin(), description.end());
    return out;
  }
};

// A client that does by hand what libvdeplug does, up to the request.
struct RawClient {
  explicit RawClient(Lan& lan) : ctl(connect_unix(lan.directory.file("ctl"))) {
    data = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    REQUIRE(bind_datagram(data.get(), lan.temporary.file("client"), 0700, file) == 0);
  }
  void send(const Bytes& bytes) {
    REQUIRE(::send(ctl.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  Fd ctl;
  Fd data;
  SocketFile file;
};

std::vector<Bytes> receive_all(Lan& lan, Plug& plug) {
  std::vector<Bytes> frames;
  for (int idle = 0; idle < 3; ++idle) {
    for (Bytes frame = plug.receive(); !frame.empty(); frame = plug.receive()) {
      frames.push_back(std::move(frame));
      idle = 0;
    }
    lan.loop.tick(0);
  }
  return frames;
}

}  // namespace

TEST_CASE("libvdeplug: open, frames both ways, close") {
  Lan lan;
  CHECK(files_in(lan.directory.path()) == std::vector<std::string>{"ctl"});
  Plug plug(lan, 0, "QEMU");
  REQUIRE(plug);
  REQUIRE(lan.settle(1));
  const std::string name = lan.host.ports[0]->name();
  CHECK(name.starts_with("vde 1 QEMU user="));
  CHECK(name.find(fmt::format("pid={}", ::getpid())) != std::string::npos);

  for (const size_t size : {60, 1514, 1518, 1522, 9000, 9216, 9234}) {
    CAPTURE(size);
    const Bytes frame = numbered_frame(size, 1);
    REQUIRE(plug.send(frame));
    REQUIRE(tick_until(lan.loop, [&] { return !lan.host.received.empty(); }));
    CHECK(lan.host.received == std::vector<Bytes>{frame});
    lan.host.received.clear();
    send_all(*lan.host.ports[0], {frame});
    CHECK(plug.receive() == frame);
  }

  plug.close();
  CHECK(lan.settle(0));
  CHECK(lan.host.reasons == std::vector<std::string>{""});
  CHECK(files_in(lan.directory.path()) == std::vector<std::string>{"ctl"});
  CHECK(lan.log.lines.empty());
}

TEST_CASE("a port number asked for shows in the name") {
  Lan lan;
  const Plug five(lan, 5);
  const Plug management(lan, -1);
  REQUIRE(lan.settle(2));
  CHECK(lan.host.ports[0]->name().ends_with("(asked for port 5)"));
  CHECK(lan.host.ports[1]->name().ends_with("(asked for the management port)"));
}

TEST_CASE("runts and giants from a client are dropped and counted, nothing is cut short") {
  Lan lan;
  Plug plug(lan);
  REQUIRE(lan.settle(1));
  const Port& port = *lan.host.ports[0];
  const Bytes good = numbered_frame(60, 1);
  for (const size_t size : {1, 13, 9235, 20'000}) REQUIRE(plug.send(Bytes(size, 0xff)));
  REQUIRE(::send(plug.data_fd(), nullptr, 0, 0) == 0);  // libvdeplug 2.3's goodbye
  REQUIRE(plug.send(good));
  CHECK(tick_until(lan.loop, [&] { return !lan.host.received.empty(); }));
  CHECK(lan.host.received == std::vector<Bytes>{good});
  CHECK(port.counters().dropped(DropReason::kRunt) == 2);
  CHECK(port.counters().dropped(DropReason::kTooLong) == 2);
  CHECK(port.counters().dropped() == 4);

  send_all(*lan.host.ports[0], {Bytes(kVdeFrameBytesMax + 1, 0x42), good});
  CHECK(plug.receive() == good);
  CHECK(port.counters().dropped(DropReason::kTooLong) == 3);
}

TEST_CASE("a burst from a client arrives whole and in order") {
  Lan lan;
  Plug plug(lan);
  REQUIRE(lan.settle(1));
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 1000; ++i) {
    frames.push_back(numbered_frame(60 + i % 1455, i));
    while (!plug.send(frames.back())) lan.loop.tick(0);
  }
  CHECK(tick_until(lan.loop, [&] { return lan.host.received.size() == frames.size(); }));
  CHECK(lan.host.received == frames);
  CHECK(lan.host.largest_burst > 1);
  CHECK(lan.host.largest_burst <= kBurstFrames);
}

TEST_CASE("after frames alone: runts, giants, a goodbye and a burst are what they always are") {
  Lan lan;
  Plug plug(lan);
  REQUIRE(lan.settle(1));
  std::vector<Bytes> expected;
  const auto hear = [&] {
    return tick_until(lan.loop, [&] { return lan.host.received.size() == expected.size(); });
  };
  const auto say = [&] {
    const auto number = static_cast<uint32_t>(expected.size());
    expected.push_back(numbered_frame(60 + number, number));
    while (!plug.send(expected.back())) lan.loop.tick(0);
  };
  const auto say_one_at_a_time = [&] {
    lan.host.largest_burst = 0;
    for (size_t i = 0; i < 2 * kVdeLoneLooks_count + 1; ++i) {
      say();
      REQUIRE(hear());
    }
    CHECK(lan.host.largest_burst == 1);
  };

  say_one_at_a_time();
  REQUIRE(plug.send(Bytes(9235, 0xff)));
  say_one_at_a_time();
  REQUIRE(plug.send(Bytes(13, 0xff)));
  say_one_at_a_time();
  REQUIRE(::send(plug.data_fd(), nullptr, 0, 0) == 0);
  say_one_at_a_time();
  for (int i = 0; i < 200; ++i) say();
  CHECK(hear());
  CHECK(lan.host.received == expected);
  CHECK(lan.host.largest_burst > 16);
  CHECK(lan.host.ports[0]->counters().dropped(DropReason::kTooLong) == 1);
  CHECK(lan.host.ports[0]->counters().dropped() == 2);
}

TEST_CASE("a frame of any length reaches the client alone") {
  Lan lan;
  Plug plug(lan);
  REQUIRE(lan.settle(1));
  for (const size_t size : {60, 1514, 2047, 2048, 2049, 9216}) {
    const Bytes frame = numbered_frame(size, 7);
    send_all(*lan.host.ports[0], {frame});
    CHECK(plug.receive() == frame);
  }
}

TEST_CASE("1000 frames wait for a client that does not read, and arrive in order when it does") {
  Lan lan;
  Plug plug(lan);
  REQUIRE(lan.settle(1));
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 1000; ++i) frames.push_back(numbered_frame(60 + i % 1455, i));
  send_all(*lan.host.ports[0], frames);
  CHECK(lan.host.ports[0]->counters().egress_frames == frames.size());
  CHECK(receive_all(lan, plug) == frames);
}

TEST_CASE("every frame for a client that does not read is delivered later or counted as dropped") {
  Lan lan;
  Plug plug(lan);
  REQUIRE(lan.settle(1));
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 20'000; ++i) frames.push_back(numbered_frame(18 + i * 37 % 1497, i));
  send_all(*lan.host.ports[0], frames);
  const PortCounters counters = lan.host.ports[0]->counters();
  CHECK(counters.dropped(DropReason::kQueueFull) > 0);
  CHECK(counters.egress_frames + counters.dropped(DropReason::kQueueFull) == frames.size());

  const std::vector<Bytes> got = receive_all(lan, plug);
  CHECK(got.size() == counters.egress_frames);
  auto at = frames.begin();  // what arrived is what was sent, in order, less the drops
  for (const Bytes& frame : got) {
    at = std::find(at, frames.end(), frame);
    REQUIRE(at != frames.end());
    ++at;
  }
  send_all(*lan.host.ports[0], {frames[0]});
  CHECK(plug.receive() == frames[0]);
}

TEST_CASE("a client whose data socket has gone costs no more than its frames") {
  Lan lan;
  RawClient client(lan);
  client.send(Request{.path = client.file.path()}.bytes());
  REQUIRE(lan.settle(1));
  Port& port = *lan.host.ports[0];
  const std::vector<Bytes> frames(10'000, numbered_frame(1514, 1));
  send_all(port, frames);
  client.data.reset();
  send_all(port, frames);
  for (int i = 0; i < 10; ++i) lan.loop.tick(0);
  send_all(port, frames);
  CHECK(lan.host.ports.size() == 1);
  CHECK(port.counters().dropped(DropReason::kPeerGone) >= frames.size());
  CHECK(port.counters().egress_frames + port.counters().dropped() == 3 * frames.size());
  CHECK(lan.log.lines.empty());
  client.ctl.reset();
  CHECK(lan.settle(0));
}

TEST_CASE("what a client sends just before it leaves arrives") {
  Lan lan;
  Plug plug(lan);
  REQUIRE(lan.settle(1));
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 90; ++i) {
    frames.push_back(numbered_frame(60, i));
    REQUIRE(plug.send(frames.back()));
  }
  plug.close();
  CHECK(lan.settle(0));
  CHECK(lan.host.received == frames);
}

TEST_CASE("the answer is 110 raw bytes that name a socket of mode 0600") {
  Lan lan;
  RawClient client(lan);
  client.send(Request{.path = client.file.path(), .description = "tab\there \xe2\x82\xac"}.bytes());
  REQUIRE(lan.settle(1));
  CHECK(lan.host.ports[0]->name() == "vde 1 tab?here ???");
  Bytes reply(200);
  REQUIRE(::recv(client.ctl.get(), reply.data(), reply.size(), 0) == 110);
  uint16_t family = 0;
  std::memcpy(&family, reply.data(), 2);
  CHECK(family == AF_UNIX);
  const std::string path(reinterpret_cast<const char*>(&reply[2]));
  CHECK(path.starts_with(lan.directory.path() + "/001."));
  CHECK(std::all_of(reply.begin() + 2 + static_cast<ptrdiff_t>(path.size()), reply.begin() + 110,
                    [](uint8_t byte) { return byte == 0; }));
  for (const std::string& file : {path, lan.directory.file("ctl")}) {
    struct stat status {};
    REQUIRE(::stat(file.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
  }
}

TEST_CASE("a wrong request ends at once, is logged, and disturbs nobody") {
  Lan lan;
  Plug bystander(lan);
  REQUIRE(lan.settle(1));
  std::ofstream(lan.temporary.file("plain")) << "no socket";
  const std::string path = lan.temporary.file("client");
  const Request good{.path = path};
  std::vector<std::pair<std::string, Bytes>> wrong;
  const auto add = [&](const char* why, auto change) {
    Request request = good;
    change(request);
    wrong.emplace_back(why, request.bytes());
  };
  const Bytes whole = Request{.path = path, .description = ""}.bytes();
  wrong.emplace_back("121 bytes where 122", Bytes(whole.begin(), whole.end() - 1));
  wrong.emplace_back("of 1 bytes", Bytes{0xce});
  add("starts feedfacf", [](Request& r) { r.magic = 0xfeedfacf; });
  for (const uint32_t version : {0U, 1U, 2U, 4U}) {
    wrong.emplace_back(fmt::format("protocol version {}", version),
                       Request{.version = version, .path = path}.bytes());
  }
  add("request type 2", [](Request& r) { r.type = 2; });
  add("request type 255", [](Request& r) { r.type = 0x1ff; });
  add("address family 2", [](Request& r) { r.family = AF_INET; });
  add("no absolute path", [](Request& r) { r.path = ""; });
  add("no absolute path", [](Request& r) { r.path = std::string("\0abstract", 9); });
  add("no absolute path", [](Request& r) { r.path = "relative/client"; });
  add("has no end", [](Request& r) { r.path = "/" + std::string(107, 'x'); });
  add("No such file", [](Request& r) { r.path = "/nonexistent/client"; });
  add("Connection refused", [&](Request& r) { r.path = lan.temporary.file("plain"); });
  add("wrong type", [&](Request& r) { r.path = lan.directory.file("ctl"); });

  const size_t fds = open_fd_count();
  for (const auto& one : wrong) {
    const std::string& why = one.first;
    CAPTURE(why);
    RawClient client(lan);
    client.send(one.second);
    CHECK(tick_until(lan.loop, [&] { return at_end(client.ctl.get()); }));
    REQUIRE(!lan.log.lines.empty());
    CHECK(lan.log.lines.back().find(why) != std::string::npos);
    lan.clock.advance_ns(kThrottleWindow_ns);
  }
  CHECK(lan.log.lines.size() == wrong.size());
  CHECK(open_fd_count() == fds);
  CHECK(lan.host.ports.size() == 1);
  CHECK(files_in(lan.directory.path()).size() == 2);  // ctl and the bystander's
  const Bytes frame = numbered_frame(60, 1);
  REQUIRE(bystander.send(frame));
  CHECK(tick_until(lan.loop, [&] { return lan.host.received == std::vector<Bytes>{frame}; }));
}

TEST_CASE("many wrong requests make few lines") {
  Lan lan;
  const auto wrong = [&] {
    RawClient client(lan);
    client.send(Bytes(10));
    CHECK(tick_until(lan.loop, [&] { return at_end(client.ctl.get()); }));
  };
  for (int i = 0; i < 50; ++i) wrong();
  CHECK(lan.log.lines.size() == kThrottleLines_count);
  lan.clock.advance_ns(kThrottleWindow_ns);
  wrong();
  REQUIRE(lan.log.lines.size() == kThrottleLines_count + 1);
  CHECK(lan.log.lines.back().find("45 lines before this one") != std::string::npos);
}

TEST_CASE("clients that connect and say nothing are bounded in time and number") {
  Lan lan;
  const Fd silent = connect_unix(lan.directory.file("ctl"));
  lan.loop.tick(0);
  CHECK_FALSE(at_end(silent.get()));
  const Plug plug(lan);  // is not held up
  CHECK(plug);
  lan.clock.advance_ns(kHandshake_ns - 1);
  lan.loop.tick(0);
  CHECK_FALSE(at_end(silent.get()));
  lan.clock.advance_ns(1);
  CHECK(tick_until(lan.loop, [&] { return at_end(silent.get()); }));

  std::vector<Fd> flood;
  for (size_t i = 0; i < kPendingHandshakes_count + 10; ++i) {
    flood.push_back(connect_unix(lan.directory.file("ctl")));
  }
  const Plug late(lan);
  CHECK(late);
  const auto ended =
      std::count_if(flood.begin(), flood.end(), [](const Fd& fd) { return at_end(fd.get()); });
  CHECK(ended == 11);  // the oldest ten, and one more for the late plug
  CHECK(lan.host.ports.size() == 2);
}

TEST_CASE("a client that leaves inside its handshake leaves nothing") {
  Lan lan;
  const size_t fds = open_fd_count();
  {
    const Fd silent = connect_unix(lan.directory.file("ctl"));
    lan.loop.tick(0);
  }
  CHECK(tick_until(lan.loop, [&] { return open_fd_count() == fds; }));
  lan.clock.advance_ns(2 * kHandshake_ns);
  lan.loop.tick(0);
  CHECK(lan.log.lines.empty());
}

TEST_CASE("a second request on the ctl stream ends the port") {
  Lan lan;
  RawClient client(lan);
  const Bytes request = Request{.path = client.file.path()}.bytes();
  client.send(request);
  REQUIRE(lan.settle(1));
  client.send(request);
  CHECK(lan.settle(0));
  REQUIRE(lan.host.reasons.size() == 1);
  CHECK(lan.host.reasons[0].find("silent after the handshake") != std::string::npos);
  CHECK(files_in(lan.directory.path()) == std::vector<std::string>{"ctl"});
}

TEST_CASE("a full LAN is an end, not a hang") {
  Lan lan;
  lan.host.capacity = 0;
  const Plug plug(lan);
  CHECK_FALSE(plug);
  CHECK(lan.log.count("the LAN is full") == 1);
  CHECK(files_in(lan.directory.path()) == std::vector<std::string>{"ctl"});
}

TEST_CASE("200 plugs, one after the other and all at once, leave no descriptor and no file") {
  Lan lan;
  { const Plug first(lan); }  // libvdeplug loads its modules and keeps them
  REQUIRE(lan.settle(0));
  const size_t fds = open_fd_count();
  for (int i = 0; i < 100; ++i) {
    const Plug plug(lan);
    REQUIRE(plug);
  }
  REQUIRE(lan.settle(0));
  {
    std::vector<Plug> plugs;
    for (int i = 0; i < 100; ++i) plugs.emplace_back(lan);
    CHECK(lan.settle(100));
    CHECK(files_in(lan.directory.path()).size() == 101);
    CHECK(lan.host.ports.back()->name().starts_with("vde 201 "));
  }
  REQUIRE(lan.settle(0));
  CHECK(open_fd_count() == fds);
  CHECK(files_in(lan.directory.path()) == std::vector<std::string>{"ctl"});
  CHECK(lan.log.lines.empty());
}

TEST_CASE("when the LAN ends, its clients see the end") {
  auto lan = std::make_unique<Lan>();
  const std::string directory = lan->directory.path();
  const Plug plug(*lan);
  REQUIRE(lan->settle(1));
  CHECK_FALSE(at_end(plug.ctl_fd()));
  lan->host.ports.clear();
  lan->listener.reset();
  CHECK(at_end(plug.ctl_fd()));
  CHECK(files_in(directory).empty());
}
