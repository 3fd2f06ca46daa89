#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "netstack/loop/loop.h"
#include "netstack/port/unix_socket.h"
#include "netstack/port/watched_fd.h"
#include "tools/control/control_counters.h"
#include "tools/control/event_stream.h"
#include "tools/control/router.h"

struct MHD_Daemon;

namespace tools {

constexpr size_t kControlBody_size = 64 * 1024;  // of a request
// A longer one is read to its end all the same: many clients send all of it before they look for an
// answer. Beyond this size the connection is ended instead.
constexpr size_t kControlRefused_size = 1024 * 1024;
constexpr size_t kControlMemory_size = 32 * 1024;  // per connection: heads of requests
constexpr size_t kControlBlock_size = 2048;        // of a reply: made in one turn of the loop

struct HttpLimits {
  unsigned connection_count_max = 256;  // more wait in the kernel until one ends
  // With fewer places left than this, the client that has been at its request for the longest gives
  // way, so that whoever comes is served.
  unsigned spare_count_min = 64;
  unsigned reader_count_max = 64;  // of events; more are refused (503)
  // From connecting, or from the answer before, to the end of an answer.
  uint64_t exchange_ns_max = 30 * netstack::kSecond_ns;
  unsigned idle_s_max = 30;  // a reader of events that does not take what there is
};

// HTTP/1.1 on the LAN's control socket, in the LAN's own loop:
//
//   client ◄─► socket ◄─► libmicrohttpd ─► Router ─► the LAN
//                              ▲
//   GET /events ◄── EventStream┘   one line of JSON each, until the client leaves
//
// libmicrohttpd has an epoll descriptor of its own, which the loop watches. It runs once per tick,
// so a client delays a frame by the time of a read, a block of an answer and a write at most.
// Handlers run between bursts and may change the LAN.
//
// GET /events gives what comes from now on; ?from=oldest begins with what is kept;
// ?kind=lease,plug-came leaves out all others. A reader that does not read costs its place in the
// stream, and after idle_s_max its connection.
class HttpServer {
 public:
  // Throws Error when the library refuses. Router, stream and counters are borrowed.
  HttpServer(netstack::Loop& loop, netstack::UnixListener listener, const Router& router,
             EventStream& events, ControlCounters& counters, const HttpLimits& limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

 private:
  struct Calls;  // the library's callbacks
  struct Client;
  struct Exchange;
  struct Subscriber;

  void run();
  void run_after(uint64_t delay_ns);
  void wake_subscribers();
  void cut_slow_clients();
  unsigned count_readers();
  void make_room();

  netstack::Loop& loop_;
  const Router& router_;
  EventStream& events_;
  ControlCounters& counters_;
  HttpLimits limits_;
  netstack::SocketFile file_;
  std::list<Subscriber*> subscribers_;  // each belongs to its response
  std::list<Client*> clients_;          // that are at a request or its answer, the longest first
  unsigned client_count_ = 0;
  bool ending_ = false;
  netstack::Loop::TimerId timer_ = 0;
  MHD_Daemon* daemon_ = nullptr;
  std::unique_ptr<netstack::WatchedFd> ready_;
};

}  // namespace tools
