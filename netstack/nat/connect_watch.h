#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "netstack/loop/loop.h"
#include "netstack/reachability/path_error.h"
#include "netstack/reachability/reason.h"

namespace netstack {

// A guest's TCP connection, named by its ends.
struct TcpFlow {
  IpAddress guest;
  IpAddress server;
  uint16_t guest_port = 0;
  uint16_t server_port = 0;

  auto operator<=>(const TcpFlow&) const = default;
};

// What became of connects of the NAT engine. The engine opens a socket while it is handed a guest's
// SYN, says so before it connects, and tells the guest of a failure with a bare RST; here the
// socket is asked for the reason in between.
//
//   begin(flow) ─► opened(fd) ─► connect() … ─► connected(fd)            forgotten
//                                          ├──► failed(fd) ─► take(flow) the reason, with the RST
//                                          └──► take(flow), no failure   it has waited so long
//
// While it connects, a socket keeps ICMP errors with who sent them (IP_RECVERR), and sends with the
// hop limit the guest's packet has left, so that traceroute by TCP works. Once connected it does
// neither: a passing ICMP error must not end a connection.
//
// A firewall of this host that drops what TCP sends says nothing to TCP: the socket would wait for
// minutes. But TCP_INFO then counts no retransmission that left. So each connect still under way
// after kLook_ns is looked at once, and `on_held_back` says what it thinks of it; with a reason the
// connect ends there and then.
class ConnectWatch {
 public:
  static constexpr uint64_t kLook_ns = 2500 * kMillisecond_ns;  // after the second SYN, at 1 s
  using HeldBack = std::function<std::optional<Reason>(const TcpFlow&)>;

  struct Outcome {
    uint64_t waited_ns = 0;
    int errno_value = 0;  // 0: not known to have failed
    std::optional<PathError> icmp = {};
    std::optional<Reason> reason = {};  // of on_held_back
  };

  ConnectWatch(Loop& loop, HeldBack on_held_back)
      : loop_(loop), on_held_back_(std::move(on_held_back)) {}
  ~ConnectWatch() { loop_.cancel(look_); }
  ConnectWatch(const ConnectWatch&) = delete;
  ConnectWatch& operator=(const ConnectWatch&) = delete;

  // Around the call that hands a SYN to the engine. `hop_limit` is for the host's packets; 0: as
  // the host likes.
  void begin(const TcpFlow& flow, uint8_t hop_limit);
  void end() { opening_.reset(); }
  bool has_opened() const { return opened_; }  // since begin()

  // Of any descriptor of the engine's; those that are none of a connect are passed over.
  void opened(int fd);
  void closed(int fd);
  void connected(int fd);
  void failed(int fd);  // and makes sure that the engine finds it so

  // What became of the flow's connect, once. Nothing: none is under way.
  std::optional<Outcome> take(const TcpFlow& flow);

  size_t count() const { return connects_.size(); }

 private:
  struct Connect {
    TcpFlow flow;
    int fd;  // -1: the engine has closed it
    uint64_t start_ns;
    Outcome outcome = {};
  };
  using Connects = std::list<Connect>;  // oldest first

  void forget(Connects::iterator connect);
  void arm_look();
  void look();
  void look_at(Connect& connect);

  Loop& loop_;
  HeldBack on_held_back_;
  std::optional<TcpFlow> opening_;
  uint8_t hop_limit_ = 0;
  bool opened_ = false;
  Connects connects_;
  std::map<TcpFlow, Connects::iterator> by_flow_;
  std::map<int, Connects::iterator> by_fd_;
  std::vector<TcpFlow> ended_;  // closed by the engine, and perhaps still asked for
  Connects::iterator unseen_ = connects_.end();  // the first that look() has not looked at
  Loop::TimerId look_ = 0;
};

}  // namespace netstack
