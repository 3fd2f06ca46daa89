#pragma once

#include <functional>
#include <list>
#include <memory>

#include "netstack/base/log_throttle.h"
#include "netstack/port/acceptor.h"
#include "netstack/port/watched_fd.h"
#include "tools/vde_switch/session.h"

namespace tools {

constexpr size_t kManagementSessions_count = 64;

// The console for others, on a listening UNIX socket: vdeterm, vdecmd, scripts. Every client gets
// the banner and a prompt, then a prompt after each reply. `logout` is answered with
// "9999 END OF SESSION" and the end of the stream; `shutdown` likewise, and the switch ends.
class Management {
 public:
  // Throws Error when it cannot listen at the options' management socket.
  Management(Interpreter& interpreter, SwitchState& state, std::function<void()> on_shutdown);

 private:
  struct Client {
    std::unique_ptr<netstack::WatchedFd> socket;
    std::unique_ptr<Session> session;
    bool leaving = false;  // as soon as its replies are out
    bool gone = false;
  };
  using Clients = std::list<Client>;

  void greet(netstack::Fd socket);
  void on_input(Clients::iterator client, uint32_t epoll_events);
  void on_end(Clients::iterator client, Next next);
  void adapt(Clients::iterator client);
  void drop(Clients::iterator client);

  netstack::Loop& loop_;
  Interpreter& interpreter_;
  SwitchState& state_;
  std::function<void()> on_shutdown_;
  netstack::LogThrottle log_;
  Clients clients_;
  netstack::Acceptor acceptor_;
};

}  // namespace tools
