#include "tools/vde_switch/management.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "tools/vde_switch/banner.h"

namespace tools {

using netstack::Fd;

Management::Management(Interpreter& interpreter, SwitchState& state,
                       std::function<void()> on_shutdown)
    : loop_(state.lan.loop()),
      interpreter_(interpreter),
      state_(state),
      on_shutdown_(std::move(on_shutdown)),
      log_(state.log, loop_.clock(), fmt::format("clients of {}", state.options.management)),
      acceptor_(loop_, log_,
                netstack::listen_unix(state.options.management, state.options.management_mode,
                                      state.options.management_group),
                [this](Fd socket) { greet(std::move(socket)); }) {}

void Management::greet(Fd socket) {
  if (clients_.size() == kManagementSessions_count) {
    log_.line(fmt::format("{}: a client was turned away: {} sessions are open", acceptor_.path(),
                          kManagementSessions_count));
    return;
  }
  Fd out(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  const auto client = clients_.emplace(clients_.end());
  try {
    client->socket = std::make_unique<netstack::WatchedFd>(
        loop_, std::move(socket), EPOLLIN,
        [this, client](uint32_t events) { on_input(client, events); });
    client->session = std::make_unique<Session>(interpreter_, state_, std::move(out),
                                                Session::Habits{{},
                                                                [this, client](Next next) {
                                                                  on_end(client, next);
                                                                  return true;
                                                                },
                                                                [this, client] { adapt(client); }});
  } catch (...) {
    clients_.erase(client);
    throw;
  }
  client->session->replies().put(banner() + kVdePrompt);
}

void Management::on_input(Clients::iterator client, uint32_t epoll_events) {
  if (!client->session->wants_input() && (epoll_events & (EPOLLHUP | EPOLLERR)) != 0) {
    return drop(client);
  }
  std::array<char, kConsoleRead_size> bytes;
  const ssize_t got = ::recv(client->socket->get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got < 0) return drop(client);
  if (got > 0) {
    const auto size = static_cast<size_t>(got);
    return client->session->take({bytes.data(), size});
  }
  client->socket->forget();
  client->session->take_end();
  client->leaving = true;
  adapt(client);
}

void Management::on_end(Clients::iterator client, Next next) {
  client->session->replies().put("9999 END OF SESSION");
  client->socket->forget();
  client->leaving = true;
  if (next == Next::kShutdown) on_shutdown_();
}

void Management::adapt(Clients::iterator client) {
  if (client->leaving && client->session->idle()) return drop(client);
  if (!client->leaving) client->socket->rewatch(client->session->wants_input() ? EPOLLIN : 0U);
}

// When the tick is over: the session may be at work now.
void Management::drop(Clients::iterator client) {
  if (std::exchange(client->gone, true)) return;
  client->socket->forget();
  loop_.at_end_of_tick([this, client] { clients_.erase(client); });
}

}  // namespace tools
