#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "netstack/loop/loop.h"
#include "netstack/port/unix_socket.h"
#include "netstack/port/watched_fd.h"
#include "tools/control/event_stream.h"
#include "tools/control/router.h"

struct MHD_Daemon;

namespace tools {

constexpr unsigned kControlConnections_count = 64;  // more wait in the kernel until one ends
constexpr unsigned kControlIdle_s = 30;             // a client that sends or takes nothing
constexpr size_t kControlBody_size = 64 * 1024;     // of a request
constexpr size_t kControlMemory_size = 32 * 1024;   // per connection: heads of requests
constexpr size_t kEventBlock_size = 4096;           // of events written at once

// HTTP/1.1 on the LAN's control socket, in the LAN's own loop:
//
//   client ◄─► socket ◄─► libmicrohttpd ─► Router ─► the LAN
//                              ▲
//   GET /events ◄── EventStream┘   one line of JSON each, until the client leaves
//
// libmicrohttpd has an epoll descriptor of its own, which the loop watches. It runs once per tick,
// so a client delays a frame by the time of a read, an answer and a write at most. Handlers run
// between bursts and may change the LAN. A reader of events that does not read costs its place in
// the stream and nothing else.
//
// GET /events gives what comes from now on; GET /events?from=oldest begins with what is kept.
class HttpServer {
 public:
  // Throws Error when the library refuses. Router and stream are borrowed.
  HttpServer(netstack::Loop& loop, netstack::UnixListener listener, const Router& router,
             EventStream& events);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

 private:
  struct Calls;  // the library's callbacks
  struct Exchange;
  struct Subscriber;

  void run();
  void run_after(uint64_t delay_ns);
  void wake_subscribers();

  netstack::Loop& loop_;
  const Router& router_;
  EventStream& events_;
  netstack::SocketFile file_;
  Subscriber* subscribers_ = nullptr;  // a list; each belongs to its response
  bool ending_ = false;
  netstack::Loop::TimerId timer_ = 0;
  MHD_Daemon* daemon_ = nullptr;
  std::unique_ptr<netstack::WatchedFd> ready_;
};

}  // namespace tools
