// DIR/ctl of a whole LAN: up to four clients that connect, say anything in any pieces, send frames
// and hang up. Checked: whoever has said something is answered with 110 bytes or an end, and when
// all have gone nothing is left of them: no port, no file, no descriptor.
//
//   records: operation (low 3 bits) and client (next 2) │ kSay, kFrame: size (1) │ kSay: bytes
//
// A path that begins with '/' is moved into a directory of the fuzzer's own, so that no input can
// name a socket of this machine: "/cN" is client N's socket, "/s" one of the wrong type.
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>

#include "netstack/base/check.h"
#include "netstack/port/unix_socket.h"
#include "netstack/vde/vde_request.h"
#include "tests/fuzz/input.h"
#include "tests/unit/port_fixture.h"
#include "tools/lan/lan.h"

using namespace netstack;

namespace {

constexpr size_t kClients_count = 4;
constexpr size_t kRecords_count = 256;     // of an input; the rest is not looked at
constexpr int kTurnsToAnswer_count = 3;    // accept, read, and one to spare
constexpr size_t kDescription_size = 134;  // what fits behind a request in one read

enum class Operation : uint8_t {
  kConnect,
  kSay,
  kFrame,  // to where the reply said
  kTurn,
  kHangUp,
  kHalfClose,
  kWait,  // size: seconds
  kReserve,
};

const TemporaryDirectory& ground() {
  static const TemporaryDirectory directory;
  return directory;
}

sockaddr_un address_of(const std::string& name) {
  return unix_address(ground().file(name));
}

// --- the request alone --------------------------------------------------------------------------

void judge_parser(std::span<const uint8_t> bytes) {
  const auto parsed = parse_vde_request(bytes);
  if (const auto* wrong = std::get_if<std::string>(&parsed)) {
    check(!wrong->empty(), "a refusal says why");
    return;
  }
  const auto& request = std::get<VdeRequest>(parsed);
  check(bytes.size() >= sizeof(VdeRequestWire), "a request is whole");
  check(request.client.sun_family == AF_UNIX && request.client.sun_path[0] == '/',
        "a client's socket has a path");
  check(std::memchr(request.client.sun_path, 0, sizeof request.client.sun_path) != nullptr,
        "the path ends");
  check(request.port_number < 1U << 24U, "a port number has 24 bits");
  check(request.description.size() <= bytes.size() - sizeof(VdeRequestWire) &&
            std::ranges::all_of(request.description, [](char c) { return c >= ' ' && c <= '~'; }),
        "a description is printable");
}

// Puts a request's path into our directory, whatever it was.
void keep_in(std::span<uint8_t> bytes) {
  constexpr size_t kPathAt = offsetof(VdeRequestWire, path);
  if (bytes.size() <= kPathAt || bytes[kPathAt] != '/') return;
  const std::span<uint8_t> field =
      bytes.subspan(kPathAt, std::min(bytes.size(), sizeof(VdeRequestWire)) - kPathAt);
  std::string tail(field.begin() + 1, field.end());
  std::ranges::replace(tail, '/', '_');
  const std::string path = ground().file(tail);
  std::copy_n(path.begin(), std::min(path.size(), field.size()), field.begin());
}

// --- a client -----------------------------------------------------------------------------------

class Client {
 public:
  explicit Client(size_t number)
      : data_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const sockaddr_un address = address_of(fmt::format("c{}", number));
    ::unlink(address.sun_path);
    const auto* bound = reinterpret_cast<const sockaddr*>(&address);
    check(::bind(data_.get(), bound, sizeof address) == 0, "a client's socket is bound");
  }

  void connect() {
    if (!ctl_) ctl_ = connect_unix(ground().file("lan/ctl"));
  }
  void hang_up() {
    ctl_.reset();
    heard_.clear();
    said_ = false;
    ended_ = false;
  }
  void half_close() {
    if (ctl_) said_ = ::shutdown(ctl_.get(), SHUT_WR) == 0;
  }
  void say(std::span<const uint8_t> bytes) {
    if (!ctl_ || bytes.empty()) return;
    ::send(ctl_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    said_ = true;
  }
  void send_frame(size_t size) {
    if (heard_.size() != sizeof(VdeReplyWire)) return;
    sockaddr_un to;
    std::memcpy(&to, heard_.data(), sizeof to);
    const Bytes frame = numbered_frame(std::max<size_t>(size, 14), 1);
    ::sendto(data_.get(), frame.data(), size, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&to),
             sizeof to);
  }
  void listen() {
    std::array<uint8_t, 4096> bytes;
    while (::recv(data_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) >= 0) continue;
    while (ctl_ && !ended_) {
      const ssize_t got = ::recv(ctl_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) return;
      ended_ = got <= 0;
      heard_.insert(heard_.end(), bytes.begin(), bytes.begin() + std::max<ssize_t>(got, 0));
    }
  }
  void judge(bool waited_long) const {
    if (!ctl_) return;
    const bool answered = heard_.size() == sizeof(VdeReplyWire);
    check(answered || heard_.empty(), "an answer is whole or there is none");
    check(answered || ended_ || !(said_ || waited_long), "a client is answered or sees the end");
    if (!answered) return;
    sockaddr_un reply;
    std::memcpy(&reply, heard_.data(), sizeof reply);
    check(reply.sun_family == AF_UNIX &&
              std::string_view(reply.sun_path).starts_with(ground().file("lan/")),
          "an answer names a socket in the LAN's directory");
  }

 private:
  Fd data_;
  Fd ctl_;
  Bytes heard_;
  bool said_ = false;
  bool ended_ = false;
};

// --- the LAN ------------------------------------------------------------------------------------

class World {
 public:
  World() { lan_->open_directory(ground().file("lan")); }

  void run(tests::Input& input) {
    for (size_t at = 0; at < kRecords_count && !input.empty(); ++at) run_one(input);
    turn();
    for (const Client& client : clients_) client.judge(false);
    clock_.advance_ns(kHandshake_ns);
    turn();
    for (const Client& client : clients_) client.judge(true);
  }
  void end() {
    for (Client& client : clients_) client.hang_up();
    turn();
    for (const auto& [number, port] : lan_->ports().ports()) {
      check(!port->active(), "a client that has gone leaves no endpoint");
    }
    lan_.reset();
    check(!std::filesystem::exists(ground().file("lan")), "a LAN leaves no directory");
  }

 private:
  void run_one(tests::Input& input) {
    const uint8_t head = input.u8();
    Client& client = clients_[head >> 3U & 3U];
    switch (static_cast<Operation>(head & 7U)) {
      case Operation::kConnect:
        return client.connect();
      case Operation::kSay:
        return say(client, input.bytes(input.u8()));
      case Operation::kFrame:
        return client.send_frame(input.u8());
      case Operation::kTurn:
        return turn();
      case Operation::kHangUp:
        return client.hang_up();
      case Operation::kHalfClose:
        return client.half_close();
      case Operation::kWait:
        return clock_.advance_ns(input.u8() * kSecond_ns);
      case Operation::kReserve:
        static_cast<void>(lan_->ports().create(input.u8(), false));
        return;
    }
  }
  void say(Client& client, std::span<const uint8_t> bytes) {
    Bytes own(bytes.begin(), bytes.end());
    keep_in(own);
    judge_parser(own);
    client.say(own);
  }
  void turn() {
    for (int i = 0; i < kTurnsToAnswer_count; ++i) {
      loop_.tick(0);
      for (Client& client : clients_) client.listen();
    }
  }

  ManualClock clock_;
  Loop loop_{clock_};
  MemoryLog log_;
  std::optional<tools::Lan> lan_{std::in_place, loop_, log_};
  std::array<Client, kClients_count> clients_{Client(0), Client(1), Client(2), Client(3)};
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  static Fd wrong_type(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of("s");
  check(::bind(wrong_type.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
        "a socket of the wrong type is bound");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static_assert(kVdeRequestMax_size - sizeof(VdeRequestWire) == kDescription_size);
  judge_parser({data, size});
  const int before_count = tests::low_descriptor_count();
  {
    tests::Input input(data, size);
    World world;
    world.run(input);
    world.end();
  }
  check(tests::low_descriptor_count() == before_count, "no descriptor is left open");
  return 0;
}
