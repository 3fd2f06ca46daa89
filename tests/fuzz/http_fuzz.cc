// The control socket's HTTP: up to 3 clients of a whole LAN's control socket, in pieces, hanging
// up, with time passing. Checked: everything that comes back begins as an HTTP answer does; no
// client keeps another from its answer; no descriptor is left.
//
// An input is text with these bytes in between (any other is text):
//
//   00 the write ends here      02 the client hangs up     04 20 s pass
//   01 the next client          03 the client reads        05 a plug comes
#include <sys/socket.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/base/check.h"
#include "netstack/port/memory_port.h"
#include "tests/fuzz/input.h"
#include "tests/unit/port_fixture.h"
#include "tools/control/control_socket.h"

using namespace netstack;

namespace {

constexpr size_t kInput_size = 4096;  // the rest is not looked at
constexpr size_t kClients_count = 3;

class Run {
 public:
  Run() {
    tools::add_all_routes(router_, target_);
    tools::publish_all_events(target_, events_);
    // No file is made wherever an input says.
    target_.sandbox.landlock_abi = 1;
    http_.emplace(loop_, listen_unix(path_), router_, events_, target_.counters);
  }
  ~Run() { tools::forget_all_events(target_); }

  void run(std::string_view input) {
    for (const char byte : input) step(byte);
    cut();
    for (at_ = 0; at_ < kClients_count; ++at_) read();
    const Fd fresh = connect_unix(path_);
    constexpr std::string_view kAsk = "GET / HTTP/1.0\r\n\r\n";
    check(::send(fresh.get(), kAsk.data(), kAsk.size(), MSG_NOSIGNAL) > 0, "a new client can ask");
    std::string answer;
    for (int turn = 0; turn < 20 && answer.empty(); ++turn) {
      loop_.tick(0);
      answer = receive(fresh);
    }
    check(answer.starts_with("HTTP/1.") && answer.find(" 200 ") != std::string::npos,
          "a new client is answered");
  }

 private:
  void step(char byte) {
    switch (byte) {
      case 0x00:
        return cut();
      case 0x01:
        cut();
        at_ = (at_ + 1) % kClients_count;
        return;
      case 0x02:
        cut();
        clients_[at_].reset();
        begun_[at_] = false;
        return turn();
      case 0x03:
        cut();
        return read();
      case 0x04:
        clock_.advance_ns(20 * kSecond_ns);
        return turn();
      case 0x05:
        lan_.add(std::make_unique<MemoryPort>("plug"));
        return turn();
      default:
        text_ += byte;
    }
  }
  void turn() {
    for (int i = 0; i < 4; ++i) loop_.tick(0);
  }
  void cut() {
    if (text_.empty()) return;
    Fd& client = clients_[at_];
    if (!client) client = connect_unix(path_);
    (void)!::send(client.get(), text_.data(), text_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    text_.clear();
    turn();
  }
  void read() {
    if (!clients_[at_]) return;
    const std::string text = receive(clients_[at_]);
    if (text.empty()) return;
    check(begun_[at_] || text.starts_with("HTTP/1."), "an answer is one of HTTP");
    begun_[at_] = true;
    turn();
  }
  static std::string receive(const Fd& fd) {
    std::array<char, 65536> bytes;
    const ssize_t got = ::recv(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    return got > 0 ? std::string(bytes.data(), static_cast<size_t>(got)) : std::string();
  }

  ManualClock clock_;
  Loop loop_{clock_};
  MemoryLog log_;
  TemporaryDirectory folder_;
  std::string path_ = folder_.file("control");
  tools::Lan lan_{loop_, log_};
  tools::ControlledLan target_{.lan = lan_, .log = log_};
  tools::EventStream events_{clock_};
  tools::Router router_;
  std::optional<tools::HttpServer> http_;
  std::array<Fd, kClients_count> clients_;
  std::array<bool, kClients_count> begun_{};
  size_t at_ = 0;
  std::string text_;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int before_count = tests::low_descriptor_count();
  {
    Run run;
    run.run({reinterpret_cast<const char*>(data), std::min(size, kInput_size)});
  }
  check(tests::low_descriptor_count() == before_count, "no descriptor is left open");
  return 0;
}
