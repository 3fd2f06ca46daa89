#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/loop/loop.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// DNS over TCP for guests, RFC 7766.
//
//   guest ─► .3:53 ─► Gateway rewrites to .2:PORT ─► libslirp ─► 127.0.0.1:PORT, where this listens
//   guest ◄─ .3:53 ◄─ and back ◄───────────────────────────────┘
//
// libslirp ends the guests' TCP connections and makes host connections of them, so their DNS
// arrives on a socket of ours. Refused: slirp_add_guestfwd, which knows one connection per port,
// no IPv6, and not the nameserver's address; slirp_add_unix, which connects without O_NONBLOCK to a
// socket this same thread would have to accept from.
//
// The port is opened when the first guest connects. It is bound to the loopback address, where the
// host's own programs can connect as well: a connection counts only if a guest has just begun one
// (expect()), the others are closed at once.
class DnsStream {
 public:
  static constexpr size_t kConnectionsMax = 64;                // the longest idle one makes room
  static constexpr size_t kExpectedMax = 64;                   // guests whose connection is to come
  static constexpr uint64_t kExpected_ns = kSecond_ns;         // for that long
  static constexpr uint64_t kIdle_ns = 10 * kSecond_ns;        // then a connection is closed
  static constexpr uint64_t kPause_ns = 20 * kMillisecond_ns;  // when no descriptor is left
  static constexpr size_t kQueriesMax = 8;               // of one connection without an answer
  static constexpr size_t kUnsentBytesMax = 128 * 1024;  // of one connection

  struct Handler {
    std::function<void(uint64_t connection, const IpAddress& guest, std::span<const uint8_t>)>
        on_query;
    std::function<void(uint64_t connection)> on_closed;
  };

  DnsStream(Loop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {}
  ~DnsStream();
  DnsStream(const DnsStream&) = delete;
  DnsStream& operator=(const DnsStream&) = delete;

  // A guest begins a connection. The port of the loopback address of that family; 0: the host
  // gives none.
  uint16_t expect(const IpAddress& guest);
  // That port, 0 before any guest has come.
  uint16_t port(bool v6) const { return listeners_[v6 ? 1 : 0].port; }

  // The answer to one query. Unknown connections have been closed meanwhile.
  void answer(uint64_t connection, std::span<const uint8_t> message);

  size_t connection_count() const { return connections_.size(); }
  uint64_t stranger_count() const { return stranger_count_; }

 private:
  struct Listener {
    Fd socket;
    uint16_t port = 0;
  };
  struct Expected {
    IpAddress guest;
    uint64_t until_ns;
  };
  struct Connection {
    Fd socket;
    IpAddress guest;
    uint64_t used_ns = 0;
    size_t query_count = 0;  // not answered yet
    std::vector<uint8_t> input;
    std::vector<uint8_t> output;
    bool ended = false;   // the guest sends no more
    uint32_t events = 0;  // asked of the loop
  };

  bool open(bool v6);
  void accept(bool v6);
  std::optional<IpAddress> claim(bool v6);
  void on_ready(uint64_t id, uint32_t epoll_events);
  bool read(uint64_t id);
  bool take_queries(uint64_t id);
  bool write(Connection& connection);
  void settle(uint64_t id);
  bool is_full(const Connection& connection) const;
  void close(uint64_t id);
  void make_room(bool v6);
  void close_longest_idle();
  void arm_expiry();
  void expire();

  Loop& loop_;
  Handler handler_;
  Listener listeners_[2];  // IPv4, IPv6
  std::deque<Expected> expected_;
  std::map<uint64_t, Connection> connections_;
  uint64_t next_id_ = 1;
  uint64_t stranger_count_ = 0;
  Loop::TimerId expiry_ = 0;
  Loop::TimerId pause_[2] = {0, 0};  // of the listeners
};

}  // namespace netstack
