#include "netstack/forwards/guest_forwards.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "netstack/base/error.h"
#include "tests/unit/forwards_bed.h"

using namespace tests;

namespace {

constexpr auto kPlace = "10.0.2.100";

// A guest behind a gateway with guest forwards, by real time: their targets are processes.
struct GuestBed {
  explicit GuestBed(std::initializer_list<std::string> rules) : gateway(loop, config(rules), log) {
    gateway.attach(guest, 1);
    send(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.15", "10.0.2.2"));
    for (int i = 0; i < 4; ++i) loop.tick(0);
    guest.frames.clear();
  }
  static GatewayConfig config(std::initializer_list<std::string> rules) {
    GatewayConfig config;
    for (const auto& rule : rules) config.guest_forwards.push_back(GuestForward::parse(rule));
    return config;
  }
  void send(const Builder& builder) {
    const Bytes bytes = builder.build();
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
    gateway.send({&frame, 1});
  }
  // A segment of the guest's flow, which is one per bed.
  void say(uint8_t flags, const std::string& text = {}) {
    send(Builder()
             .eth(kGuest, kGatewayMac)
             .ip("10.0.2.15", kPlace)
             .tcp(4000, port, flags, seq, ack)
             .payload(text));
    seq += static_cast<uint32_t>(text.size());
  }
  // Until the guest has had a segment that `wanted` wants; what it brings is acknowledged.
  bool wait_for(const std::function<bool(const Tcp&)>& wanted) {
    for (int i = 0; i < 2000; ++i) {
      loop.tick(5 * kMillisecond_ns);
      for (const Bytes& bytes : std::exchange(guest.frames, {})) {
        const auto frame = packets::parse_frame(bytes);
        if (!frame.tcp || frame.tcp->destination_port != 4000) continue;
        CHECK(frame.source() == packets::ip(kPlace));
        CHECK(frame.tcp->source_port == port);
        CHECK(frame.transport_checksum_valid);
        const Tcp& tcp = *frame.tcp;
        heard += frame.text();
        const uint32_t more = (tcp.flags & (kTcpSyn | kTcpFin)) != 0 ? 1 : 0;
        ack = tcp.seq + static_cast<uint32_t>(tcp.payload.size()) + more;
        const bool done = wanted(tcp);
        if (!tcp.payload.empty() || more != 0) say(kTcpAck);
        if (done) return true;
      }
    }
    return false;
  }
  bool connect(uint16_t to) {
    port = to;
    say(kTcpSyn);
    ++seq;
    bool accepted = false;
    CHECK(wait_for([&](const Tcp& tcp) {
      accepted = (tcp.flags & kTcpSyn) != 0;
      return accepted || (tcp.flags & kTcpRst) != 0;
    }));
    return accepted;
  }
  bool wait_heard(const std::string& text) {
    return heard.find(text) != std::string::npos ||
           wait_for([&](const Tcp&) { return heard.find(text) != std::string::npos; });
  }
  bool wait_end() {
    return wait_for([](const Tcp& tcp) { return (tcp.flags & kTcpFin) != 0; });
  }

  uint16_t port = 0;
  uint32_t seq = 100;
  uint32_t ack = 0;
  std::string heard;
  SystemClock clock;
  Loop loop{clock};
  TestLog log;
  Gateway gateway;
  Collect guest;
};

void prepare() {
  static_cast<void>(make_forward_bed());  // the private network
}

// How many processes have that name and run; who reaps ours, when its parent has, is init's matter.
size_t count_processes(const std::string& name) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string line;
    const bool read = static_cast<bool>(std::getline(file, line));
    if (read && line.find(" (" + name + ") ") != line.npos &&
        line.find(" (" + name + ") Z") == line.npos) {
      ++count;
    }
  }
  return count;
}

bool comes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000 && !condition(); ++i) ::usleep(10'000);
  return condition();
}

struct Server {
  explicit Server(const sockaddr* name, socklen_t bytes)
      : socket(::socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    REQUIRE(::bind(socket.get(), name, bytes) == 0);
    REQUIRE(::listen(socket.get(), 8) == 0);
  }
  Fd accept() const { return Fd(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  Fd socket;
};

}  // namespace

TEST_CASE("guest forwards: what is written is what is meant") {
  for (const std::string text :
       {"tcp:10.0.2.100:1234-cmd:nc 127.0.0.1 80 | tee /tmp/x", "tcp:10.0.2.100:1-unix:/run/a-b:c",
        "tcp:10.0.2.100:80-tcp:127.0.0.1:8080", "tcp:10.0.2.100:80-tcp:[::1]:8080"}) {
    CAPTURE(text);
    CHECK(to_string(GuestForward::parse(text)) == text);
    CHECK(to_string(GuestForward::parse(text.substr(3))) == text);  // the protocol left out
  }
  for (const std::string bad :
       {"", "tcp:10.0.2.100:1234", "udp:10.0.2.100:1-cmd:x", "tcp:10.0.2.100-cmd:x",
        "tcp:10.0.2.100:0-cmd:x", "tcp:[fec0::9]:1-cmd:x",
        "tcp:10.0.2.100:1-cmd:", "tcp:10.0.2.100:1-chardev0", "tcp:10.0.2.100:1-unix:relative",
        "tcp:10.0.2.100:1-tcp:host:1", "tcp:10.0.2.100:1-tcp:127.0.0.1"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(GuestForward::parse(bad), Error);
  }
  const GatewayNetwork network;
  for (const char* place : {"10.0.2.2", "10.0.2.3", "10.0.2.255", "10.0.2.0", "192.0.2.1"}) {
    CAPTURE(place);
    CHECK_THROWS_AS(GuestForward::parse(fmt::format("tcp:{}:1-cmd:x", place)).check(network),
                    Error);
  }
}

TEST_CASE("a guest speaks with a command, and the end of either is the end of both") {
  prepare();
  GuestBed bed({"tcp:10.0.2.100:7-cmd:cat", "tcp:10.0.2.100:13-cmd:echo hello; exit 3"});
  SUBCASE("the guest ends it") {
    REQUIRE(bed.connect(7));
    bed.say(kTcpAck);
    bed.say(kTcpAck | kTcpPsh, "back and forth");
    CHECK(bed.wait_heard("back and forth"));
    bed.say(kTcpFin | kTcpAck);
    ++bed.seq;
    CHECK(bed.wait_end());
  }
  SUBCASE("the command ends it") {
    REQUIRE(bed.connect(13));
    bed.say(kTcpAck);
    CHECK(bed.wait_heard("hello\n"));
    CHECK(bed.wait_end());
  }
  CHECK(bed.log.lines.empty());
}

TEST_CASE("UNIX and TCP targets; who is not there is a reset and a line") {
  prepare();
  const std::string path = fmt::format("/tmp/lanyard-guestfwd-{}", ::getpid());
  sockaddr_un unix_name{};
  unix_name.sun_family = AF_UNIX;
  std::memcpy(unix_name.sun_path, path.data(), path.size());
  ::unlink(path.c_str());
  sockaddr_storage tcp_name{};
  const auto* unix_generic = reinterpret_cast<const sockaddr*>(&unix_name);
  const auto* tcp_generic = reinterpret_cast<const sockaddr*>(&tcp_name);
  std::string target;
  SUBCASE("UNIX") {
    target = "unix:" + path;
  }
  SUBCASE("TCP") {
    target = "tcp:127.0.0.1:8080";
  }
  SUBCASE("TCP over IPv6") {
    target = "tcp:[::1]:8080";
  }
  CAPTURE(target);
  const bool is_unix = target.starts_with("unix:");
  const auto address = packets::ip(target.find('[') == std::string::npos ? "127.0.0.1" : "::1");
  const socklen_t tcp_bytes = to_sockaddr(address, 8080, tcp_name);

  GuestBed bed({"tcp:10.0.2.100:80-" + target});
  CHECK_FALSE(bed.connect(80));
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(bed.log.lines[0].find("tcp:10.0.2.100:80-" + target) != std::string::npos);
  bed.seq += 5000;
  const Server server(is_unix ? unix_generic : tcp_generic,
                      is_unix ? socklen_t{sizeof unix_name} : tcp_bytes);
  REQUIRE(bed.connect(80));
  bed.say(kTcpAck);
  bed.say(kTcpAck | kTcpPsh, "question");
  const Fd connection = server.accept();
  for (int i = 0; i < 20; ++i) bed.loop.tick(5 * kMillisecond_ns);
  char text[64] = {};
  CHECK(::recv(connection.get(), text, sizeof text, 0) == 8);
  CHECK(std::string(text) == "question");
  CHECK(::send(connection.get(), "answer", 6, 0) == 6);
  CHECK(bed.wait_heard("answer"));
  ::shutdown(connection.get(), SHUT_WR);
  CHECK(bed.wait_end());
  ::unlink(path.c_str());
}

TEST_CASE("the address of a guest forward answers ARP, and is leased to nobody") {
  prepare();
  GuestBed bed({"tcp:10.0.2.15:7-cmd:cat"});
  bed.send(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.16", "10.0.2.15"));
  bed.loop.tick(0);
  REQUIRE_FALSE(bed.guest.frames.empty());
  const auto reply = packets::parse_frame(bed.guest.frames.front());
  REQUIRE(reply.arp);
  CHECK(reply.arp->operation == kArpReply);
  CHECK(reply.arp->sender_ip == packets::ip("10.0.2.15"));
  CHECK(reply.eth->source == packets::mac(kGatewayMac));
  GatewayConfig config = GuestBed::config({"tcp:10.0.2.15:7-cmd:cat"});
  LeaseTable leases(config.network, config.reserved_leases());
  CHECK(leases.offer(packets::mac(kGuest), packets::ip("10.0.2.15"), 1, 1) ==
        packets::ip("10.0.2.16"));
}

TEST_CASE("the opener ends with its gateway, with its commands, and leaves no zombies") {
  prepare();
  const size_t before = count_processes("lanyard-opener");
  const std::string marker = fmt::format("/tmp/lanyard-marker-{}", ::getpid());
  {
    GuestBed bed(
        {fmt::format("tcp:10.0.2.100:7-cmd:trap 'echo ended >{}; exit' TERM; echo up; "
                     "while :; do sleep 0.05; done",
                     marker)});
    CHECK(comes_true([&] { return count_processes("lanyard-opener") == before + 1; }));
    REQUIRE(bed.connect(7));
    bed.say(kTcpAck);
    REQUIRE(bed.wait_heard("up"));
  }
  CHECK(comes_true([&] { return count_processes("lanyard-opener") == before; }));
  CHECK(comes_true([&] { return std::filesystem::exists(marker); }));
  std::filesystem::remove(marker);
  CHECK(::waitpid(-1, nullptr, WNOHANG) < 0);  // no child of ours is left
}

TEST_CASE("whoever else connects to the loopback port is served nothing") {
  prepare();
  GuestBed bed({"tcp:10.0.2.100:7-cmd:cat"});
  std::vector<uint16_t> ports;
  std::ifstream table("/proc/net/tcp");
  for (std::string line; std::getline(table, line);) {
    unsigned port = 0;
    if (std::sscanf(line.c_str(), " %*d: 0100007F:%X 00000000:0000 0A", &port) == 1) {
      ports.push_back(static_cast<uint16_t>(port));
    }
  }
  REQUIRE(ports.size() >= 1);
  for (const uint16_t port : ports) {
    const Client stranger("127.0.0.1", port);
    if (stranger.error != 0) continue;
    for (int i = 0; i < 5; ++i) bed.loop.tick(0);
    const std::string said = stranger.read();
    CHECK((said == "EOF" || said == "RST"));
  }
  REQUIRE(bed.connect(7));
}
