#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/fd.h"
#include "netstack/loop/loop.h"
#include "netstack/wire/dns.h"
#include "tests/packets/packets.h"

// A nameserver played by the test, on sockets of the same loop, and DNS messages written by hand.
namespace tests {

using packets::Bytes;

inline Bytes dns_query(std::string_view name, uint16_t type = 1, uint16_t id = 0x1234) {
  auto query = netstack::make_dns_query(name, static_cast<netstack::DnsType>(type), id);
  REQUIRE(query);
  return *query;
}

// The query with an OPT record, RFC 6891 §6.1.2.
inline Bytes with_edns(Bytes query, uint16_t udp_bytes) {
  const Bytes opt = {
      0, 0, 41, static_cast<uint8_t>(udp_bytes >> 8U), static_cast<uint8_t>(udp_bytes), 0, 0, 0,
      0, 0, 0};
  query.insert(query.end(), opt.begin(), opt.end());
  netstack::write_u16(&query[10], 1);
  return query;
}

struct AnswerShape {
  uint8_t rcode = 0;
  bool truncated = false;
  size_t padding_records = 0;  // TXT records of 200 bytes behind the address
};

inline Bytes dns_answer(const Bytes& query, const std::string& address, AnswerShape shape = {}) {
  const auto question = netstack::dns_question(query);
  REQUIRE(question);
  Bytes out(question->begin(), question->end());
  netstack::write_u16(&out[2],
                      static_cast<uint16_t>(0x8180 | (shape.truncated ? 0x0200 : 0) | shape.rcode));
  netstack::write_u16(&out[6],
                      static_cast<uint16_t>((address.empty() ? 0 : 1) + shape.padding_records));
  netstack::write_u16(&out[10], 0);
  const auto add = [&](uint16_t type, std::span<const uint8_t> data) {
    Bytes head = {0xc0, 12, 0, 0, 0, 1, 0, 0, 0, 60, 0, 0};
    netstack::write_u16(&head[2], type);
    netstack::write_u16(&head[10], static_cast<uint16_t>(data.size()));
    out.insert(out.end(), head.begin(), head.end());
    out.insert(out.end(), data.begin(), data.end());
  };
  if (!address.empty()) {
    const netstack::IpAddress ip = packets::ip(address);
    add(ip.v6 ? 28 : 1, ip.bytes());
  }
  Bytes text(200, 'x');
  text[0] = 199;
  for (size_t i = 0; i < shape.padding_records; ++i) add(16, text);
  return out;
}

class FakeNameserver {
 public:
  using Answers = std::function<std::vector<Bytes>(const Bytes& query)>;
  enum class Stream : bool { kNone, kListens };

  FakeNameserver(netstack::Loop& loop, const std::string& address, Answers udp,
                 Stream stream = Stream::kNone, Answers tcp = {})
      : loop_(loop), udp_(std::move(udp)), tcp_(std::move(tcp)) {
    datagrams_ = bound(address, SOCK_DGRAM);
    loop_.watch(datagrams_.get(), EPOLLIN, [this](uint32_t) { on_datagram(); });
    if (stream == Stream::kNone) return;
    listener_ = bound(address, SOCK_STREAM);
    REQUIRE(::listen(listener_.get(), 16) == 0);
    loop_.watch(listener_.get(), EPOLLIN, [this](uint32_t) { on_connection(); });
  }
  ~FakeNameserver() {
    loop_.forget(datagrams_.get());
    if (listener_) loop_.forget(listener_.get());
    for (const auto& [fd, connection] : connections_) loop_.forget(fd);
  }

  std::vector<Bytes> queries;         // by UDP, in the order they came
  std::vector<Bytes> stream_queries;  // by TCP
  std::vector<uint16_t> ports;        // the askers' UDP ports

 private:
  struct Connection {
    netstack::Fd socket;
    Bytes input;
  };

  static netstack::Fd bound(const std::string& address, int type) {
    const netstack::IpAddress ip = packets::ip(address);
    netstack::Fd socket(::socket(ip.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_storage name{};
    const socklen_t bytes = netstack::to_sockaddr(ip, 53, name);
    REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), bytes) == 0);
    return socket;
  }

  void on_datagram() {
    Bytes query(65'535);
    sockaddr_storage from{};
    socklen_t from_bytes = sizeof from;
    const ssize_t size = ::recvfrom(datagrams_.get(), query.data(), query.size(), 0,
                                    reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (size < 0) return;
    query.resize(static_cast<size_t>(size));
    queries.push_back(query);
    ports.push_back(ntohs(reinterpret_cast<const sockaddr_in&>(from).sin_port));
    for (const Bytes& answer : udp_(query)) {
      ::sendto(datagrams_.get(), answer.data(), answer.size(), 0,
               reinterpret_cast<sockaddr*>(&from), from_bytes);
    }
  }

  void on_connection() {
    netstack::Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return;
    const int fd = socket.get();
    connections_[fd].socket = std::move(socket);
    loop_.watch(fd, EPOLLIN, [this, fd](uint32_t) { on_stream(fd); });
  }

  void on_stream(int fd) {
    Connection& connection = connections_.at(fd);
    Bytes bytes(4096);
    const ssize_t size = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (size <= 0) {
      loop_.forget(fd);
      connections_.erase(fd);
      return;
    }
    connection.input.insert(connection.input.end(), bytes.begin(), bytes.begin() + size);
    if (connection.input.size() < 2) return;
    const size_t wanted = netstack::read_u16(connection.input.data());
    if (connection.input.size() < wanted + 2) return;
    const Bytes query(connection.input.begin() + 2, connection.input.end());
    connection.input.clear();
    stream_queries.push_back(query);
    for (const Bytes& answer : tcp_(query)) {
      Bytes framed(2);
      netstack::write_u16(framed.data(), static_cast<uint16_t>(answer.size()));
      framed.insert(framed.end(), answer.begin(), answer.end());
      ::send(fd, framed.data(), framed.size(), MSG_NOSIGNAL);
    }
  }

  netstack::Loop& loop_;
  Answers udp_;
  Answers tcp_;
  netstack::Fd datagrams_;
  netstack::Fd listener_;
  std::map<int, Connection> connections_;
};

}  // namespace tests
