#include "netstack/names/dns_exchange.h"

#include <net/if.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/wire/dns.h"

namespace netstack {

namespace {

constexpr size_t kMessageBytesMax = 65'535;

// From the kernel, so many at a time. Each is used once.
uint16_t random_id() {
  thread_local std::array<uint16_t, 128> ids;
  thread_local size_t left = 0;
  if (left == 0) {
    // Fewer bytes cannot come: requests of up to 256 are whole once the kernel has its seed.
    check(::getrandom(ids.data(), sizeof ids, 0) == sizeof ids, "the kernel has random numbers");
    left = ids.size();
  }
  return ids[--left];
}

std::vector<uint8_t>& scratch() {
  thread_local std::vector<uint8_t> bytes(kMessageBytesMax);
  return bytes;
}

}  // namespace

DnsExchange::DnsExchange(Loop& loop, const DnsServer& server, Way way,
                         std::span<const uint8_t> query, uint64_t& forged_count)
    : loop_(loop),
      server_(server),
      way_(way),
      forged_count_(forged_count),
      guests_id_(read_u16(query.data())),
      query_(query.begin(), query.end()) {
  write_u16(query_.data(), random_id());
}

DnsExchange::~DnsExchange() {
  if (socket_) loop_.forget(socket_.get());
}

int DnsExchange::start(Handler on_done) {
  const int refused = open();
  if (refused != 0) return refused;
  on_done_ = std::move(on_done);
  const uint32_t events = way_ == Way::kUdp ? uint32_t{EPOLLIN} : uint32_t{EPOLLOUT};
  loop_.watch(socket_.get(), events, [this](uint32_t) { on_ready(); });
  return 0;
}

int DnsExchange::open() {
  const int type = way_ == Way::kUdp ? SOCK_DGRAM : SOCK_STREAM;
  Fd socket(::socket(server_.address.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno;
  if (way_ == Way::kUdp) {  // every ICMP error about it, not only "port unreachable": ip(7)
    const int on = 1;
    const bool v6 = server_.address.v6;
    ::setsockopt(socket.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &on,
                 sizeof on);
  }
  sockaddr_storage to{};
  const socklen_t to_bytes = to_sockaddr(server_.address, server_.port, to);
  if (server_.address.v6 && !server_.scope.empty()) {
    reinterpret_cast<sockaddr_in6&>(to).sin6_scope_id = ::if_nametoindex(server_.scope.c_str());
  }
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), to_bytes) != 0 &&
      errno != EINPROGRESS) {
    return errno;
  }
  if (way_ == Way::kUdp && ::send(socket.get(), query_.data(), query_.size(), MSG_NOSIGNAL) < 0 &&
      errno != EAGAIN) {
    return errno;
  }
  socket_ = std::move(socket);
  return 0;
}

// A failure shows again when the socket is read.
void DnsExchange::resend() {
  if (way_ == Way::kUdp) ::send(socket_.get(), query_.data(), query_.size(), MSG_NOSIGNAL);
}

void DnsExchange::on_ready() {
  if (way_ == Way::kUdp) return read_datagrams();
  if (written_ < kLengthBytes + query_.size()) return write_stream();
  read_stream();
}

void DnsExchange::read_datagrams() {
  for (int i = 0; i < kDatagramsPerTick; ++i) {
    std::vector<uint8_t>& buffer = scratch();
    const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (size < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      return finish(errno, {});
    }
    const std::span<const uint8_t> message(buffer.data(), static_cast<size_t>(size));
    if (is_answer(message)) return finish(0, message);
    ++forged_count_;
  }
}

// The first readiness also tells whether the connection came about.
void DnsExchange::write_stream() {
  int failed = 0;
  socklen_t bytes = sizeof failed;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failed, &bytes);
  if (failed != 0) return finish(failed, {});
  std::vector<uint8_t> framed(kLengthBytes);
  write_u16(framed.data(), static_cast<uint16_t>(query_.size()));
  framed.insert(framed.end(), query_.begin(), query_.end());
  const ssize_t sent =
      ::send(socket_.get(), framed.data() + written_, framed.size() - written_, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return finish(errno, {});
  }
  written_ += static_cast<size_t>(sent);
  if (written_ == framed.size()) loop_.rewatch(socket_.get(), EPOLLIN);
}

// One message and no more: a length, and that many bytes.
void DnsExchange::read_stream() {
  std::vector<uint8_t>& buffer = scratch();
  const size_t wanted =
      read_.size() < kLengthBytes ? kLengthBytes : kLengthBytes + read_u16(read_.data());
  const ssize_t size = ::recv(socket_.get(), buffer.data(), wanted - read_.size(), 0);
  if (size < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return finish(errno, {});
  }
  if (size == 0) return finish(ECONNRESET, {});  // closed without a whole answer
  read_.insert(read_.end(), buffer.begin(), buffer.begin() + size);
  if (read_.size() < kLengthBytes || read_.size() < kLengthBytes + read_u16(read_.data())) return;
  const auto message = std::span<const uint8_t>(read_).subspan(kLengthBytes);
  if (is_answer(message)) return finish(0, message);
  ++forged_count_;
  finish(EPROTO, {});
}

// A server that failed at the question itself may leave it out of its answer.
bool DnsExchange::is_answer(std::span<const uint8_t> message) {
  constexpr uint8_t kResponseBit = 0x80;
  constexpr uint8_t kCodeMask = 0x0f;
  if (message.size() < kDnsHeadBytes || read_u16(message.data()) != read_u16(query_.data()) ||
      (message[2] & kResponseBit) == 0) {
    return false;
  }
  const auto question = dns_question(message);
  if (!question) return (message[3] & kCodeMask) != 0 && read_u16(&message[4]) == 0;
  const auto asked = dns_question(query_);
  return asked && same_dns_question(*asked, *question);
}

// The handler may destroy this object, so it is taken out first and nothing is touched after it.
void DnsExchange::finish(int errno_value, std::span<const uint8_t> message) {
  loop_.forget(socket_.get());
  socket_.reset();
  ExchangeResult result{errno_value, {message.begin(), message.end()}};
  if (errno_value == 0) write_u16(result.message.data(), guests_id_);
  const Handler done = std::move(on_done_);
  done(std::move(result));
}

}  // namespace netstack
