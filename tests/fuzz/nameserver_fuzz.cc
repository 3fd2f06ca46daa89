// What a nameserver sends back: one question of the gateway's to a server on lo, in a namespace of
// its own, and arbitrary bytes as its answers, over UDP or TCP in pieces. Checked: what counts as
// an answer has the guest's id and asks what was asked; an
// error may come without a question.
//
//   way (low bit) │ records: mending (1), size (2), bytes
#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/names/dns_exchange.h"
#include "netstack/wire/dns.h"
#include "tests/fuzz/input.h"
#include "tests/packets/packets.h"
#include "tests/unit/private_network.h"

using namespace netstack;
using packets::Bytes;

namespace {

constexpr size_t kRecords_count = 32;
constexpr uint16_t kGuestsId = 0x1234;
constexpr size_t kLengthBytes = 2;

enum Mending : uint8_t {
  kId = 1,
  kQuestion = 2,  // behind the header, that of the query
  kResponse = 4,
  kLength = 8,  // TCP: the right one in front
  kHangUp = 16,
};

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// The server's side: a socket of each kind at one port.
class Server {
 public:
  Server() : udp_(bound(SOCK_DGRAM)), tcp_(bound(SOCK_STREAM)) {
    check(::listen(tcp_.get(), 16) == 0, "the server listens");
  }
  // What the gateway has asked, if it has.
  bool take(DnsExchange::Way way) {
    if (way == DnsExchange::Way::kTcp) return take_stream();
    std::array<uint8_t, 512> bytes;
    socklen_t size = sizeof client_;
    const ssize_t got = ::recvfrom(udp_.get(), bytes.data(), bytes.size(), 0,
                                   reinterpret_cast<sockaddr*>(&client_), &size);
    if (got > 0) query_.assign(bytes.begin(), bytes.begin() + got);
    return got > 0;
  }
  const Bytes& query() const { return query_; }
  void say(DnsExchange::Way way, const Bytes& bytes) {
    if (way == DnsExchange::Way::kTcp) {
      ::send(stream_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    } else {
      ::sendto(udp_.get(), bytes.data(), bytes.size(), 0, generic(client_), sizeof client_);
    }
  }
  void hang_up() {
    const linger now{1, 0};  // no TIME_WAIT
    if (stream_) ::setsockopt(stream_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    stream_.reset();
  }
  void forget() {
    hang_up();
    query_.clear();
    std::array<uint8_t, 512> rest;
    while (::recv(udp_.get(), rest.data(), rest.size(), 0) >= 0) {
    }
    while (Fd(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC))) {
    }
  }

 private:
  static Fd bound(int type) {
    Fd socket(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPortDns);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(::bind(socket.get(), generic(address), sizeof address) == 0, "the server is bound");
    return socket;
  }
  bool take_stream() {
    if (!stream_) {
      stream_ = Fd(::accept4(tcp_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    }
    std::array<uint8_t, 512> bytes;
    const ssize_t got = ::recv(stream_.get(), bytes.data(), bytes.size(), 0);
    if (got > static_cast<ssize_t>(kLengthBytes)) {
      query_.assign(bytes.begin() + kLengthBytes, bytes.begin() + got);
    }
    return !query_.empty();
  }

  Fd udp_;
  Fd tcp_;
  Fd stream_;
  sockaddr_in client_{};
  Bytes query_;
};

Server& server() {
  static Server one;
  return one;
}

Bytes mended(std::span<const uint8_t> from, uint8_t mending, const Bytes& query, bool tcp) {
  Bytes message(from.begin(), from.end());
  if ((mending & kQuestion) != 0 && message.size() >= kDnsHeadBytes) {
    message.insert(message.begin() + kDnsHeadBytes, query.begin() + kDnsHeadBytes, query.end());
    write_u16(&message[4], 1);
  }
  if ((mending & kId) != 0 && message.size() >= 2) std::copy_n(query.begin(), 2, message.begin());
  if ((mending & kResponse) != 0 && message.size() >= 3) message[2] |= 0x80U;
  if (tcp && (mending & kLength) != 0) {
    std::array<uint8_t, kLengthBytes> length{};
    write_u16(length.data(), static_cast<uint16_t>(message.size()));
    message.insert(message.begin(), length.begin(), length.end());
  }
  return message;
}

void judge(const ExchangeResult& result, const Bytes& asked) {
  if (result.errno_value != 0) return check(result.message.empty(), "a refusal has no message");
  check(result.message.size() >= kDnsHeadBytes, "an answer has a head");
  check(read_u16(result.message.data()) == kGuestsId, "an answer has the guest's id");
  const bool bare = read_u16(&result.message[4]) == 0;
  if (bare) return check((result.message[3] & 15U) != 0, "without a question it is an error");
  const auto question = dns_question(result.message);
  check(question && same_dns_question(*question, *dns_question(asked)),
        "an answer is to what was asked");
}

void live(tests::Input& input) {
  SystemClock clock;
  Loop loop(clock);
  const bool tcp = (input.u8() & 1U) != 0;
  const auto way = tcp ? DnsExchange::Way::kTcp : DnsExchange::Way::kUdp;
  const Bytes asked = *make_dns_query("example.com", DnsType::kA, kGuestsId);
  uint64_t forged_count = 0;
  bool done = false;
  DnsExchange exchange(loop, {packets::ip("127.0.0.1"), kPortDns, {}, "fuzz"}, way, asked,
                       forged_count);
  const int refused = exchange.start([&](const ExchangeResult& result) {
    check(!std::exchange(done, true), "an exchange ends once");
    judge(result, asked);
  });
  check(refused == 0, "the question goes out");
  for (int i = 0; i < 4 && server().query().empty(); ++i) {
    loop.tick(0);
    server().take(way);
  }
  if (server().query().empty()) return;
  for (size_t at = 0; at < kRecords_count && !input.empty() && !done; ++at) {
    const uint8_t mending = input.u8();
    const auto bytes = input.bytes(input.u16());
    server().say(way, mended(bytes, mending, server().query(), tcp));
    if ((mending & kHangUp) != 0) server().hang_up();
    loop.tick(0);
    loop.tick(0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  try {
    tests::enter_private_network();
  } catch (const Error& error) {
    fmt::print(stderr, "cannot fuzz a nameserver's answers, which must not come from outside: {}\n",
               error.what());
    std::exit(1);
  }
  server();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  const int before_count = tests::low_descriptor_count();
  live(input);
  server().forget();
  check(tests::low_descriptor_count() == before_count, "no descriptor is left open");
  return 0;
}
