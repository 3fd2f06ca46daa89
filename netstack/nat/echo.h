#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/flows/guest_packet.h"
#include "netstack/loop/loop.h"
#include "netstack/reachability/path_error.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// One echo request of a guest, on its way out.
struct EchoRequest {
  ReturnPath path;
  IpAddress guest;
  IpAddress destination;
  uint16_t id = 0;
  uint16_t seq = 0;
  uint8_t ttl = 64;                  // for the packet the host sends
  std::span<const uint8_t> payload;  // after the 8-byte ICMP header
  bool whole = true;                 // it must not be fragmented
  std::span<const uint8_t> packet;   // the whole IP packet, to be quoted in errors
};

// What came back, or did not. Every member is valid during the call only.
struct EchoReply {
  ReturnPath path;
  IpAddress guest;
  IpAddress from;
  uint16_t id = 0;
  uint16_t seq = 0;
  uint8_t ttl = 64;  // as it arrived here
  std::span<const uint8_t> payload;
};
struct EchoError {
  ReturnPath path;
  IpAddress guest;
  IpAddress destination;
  std::span<const uint8_t> quoted;  // the start of the request's IP packet
  std::optional<PathError> icmp;    // an ICMP error came; otherwise `errno_value` of `syscall`
  int errno_value = 0;
  std::string_view syscall;
};

// ICMP echo for guests, through the kernel's unprivileged ping sockets (Linux: icmp(7),
// SOCK_DGRAM).
//
// Each (guest, ICMP id, family) has a ping socket of its own, so the kernel hands each one the
// replies to its own requests and nothing else. A reply reaches the guest only when address and
// sequence belong to a request still waiting; nothing is ever made up, and there is no raw socket
// to fall back on: libslirp's fallback relabels whatever ICMP arrives as an echo reply. Errors come
// from the socket's error queue (IP_RECVERR), with the router's own address, so traceroute works.
class EchoProxy {
 public:
  struct Handler {
    std::function<void(const EchoReply&)> on_reply;
    std::function<void(const EchoError&)> on_error;
  };
  static constexpr size_t kSocketsMax = 256;           // the least recently used one makes room
  static constexpr size_t kWaitingPerSocketMax = 256;  // requests; the oldest is given up
  static constexpr uint64_t kIdle_ns = 60 * kSecond_ns;
  static constexpr size_t kQuotedBytesMax = 128;

  EchoProxy(Loop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {}
  ~EchoProxy();
  EchoProxy(const EchoProxy&) = delete;
  EchoProxy& operator=(const EchoProxy&) = delete;

  // Sends it on. When the host refuses, on_error is called before this returns.
  void request(const EchoRequest& request);

  size_t socket_count() const { return sessions_.size(); }

 private:
  struct Key {
    IpAddress guest;
    uint16_t id;
    bool v6;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Waiting {
    IpAddress destination;
    uint16_t seq;
    uint64_t serial;
    std::vector<uint8_t> quoted;
  };
  struct Session {
    Key key;
    ReturnPath path;
    Fd socket;
    int ttl = -1;
    int whole = -1;  // what the socket was told last
    uint64_t used_ns = 0;
    std::deque<Waiting> waiting;  // oldest first
  };
  using Sessions = std::list<Session>;  // least recently used first

  Session* session_for(const EchoRequest& request);  // null: the host refused, errno says why
  int send(Session& session, const EchoRequest& request);
  void refuse(const EchoRequest& request, int errno_value, std::string_view syscall);
  void on_ready(Session& session, uint32_t epoll_events);
  void read_replies(Session& session);
  void read_errors(Session& session);
  bool read_error(Session& session);
  void close(Sessions::iterator session);
  void arm_expiry();
  void expire();

  Loop& loop_;
  Handler handler_;
  Sessions sessions_;
  std::unordered_map<Key, Sessions::iterator, KeyHash> by_key_;
  Loop::TimerId expiry_ = 0;
  uint64_t last_serial_ = 0;
};

}  // namespace netstack
