#include "tools/lanyard/control_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "netstack/port/unix_socket.h"
#include "tools/control/http_answer.h"

namespace tools {

namespace {

netstack::Error broken(const std::string& path, const std::string& happened) {
  return netstack::Error(
      EX_UNAVAILABLE, fmt::format("cannot ask {}: {}; see what the switch says", path, happened));
}

using std::chrono::milliseconds;
using Time = std::chrono::steady_clock::time_point;

// By when the answer must be there.
struct Deadline {
  explicit Deadline(int timeout_ms)
      : wait(timeout_ms), at(std::chrono::steady_clock::now() + wait) {}

  milliseconds wait;
  std::optional<Time> at;  // nothing: whenever
};

// " (process 17)": who listens there; empty where that is out of sight.
std::string listener_text(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0;
  return known ? fmt::format(" (process {})", peer.pid) : "";
}

void wait_for(int fd, short events, const Deadline& deadline, const std::string& path) {
  pollfd ready{fd, events, 0};
  int left_ms = -1;
  if (deadline.at) {
    const auto left = *deadline.at - std::chrono::steady_clock::now();
    left_ms = std::max(0, static_cast<int>(std::chrono::ceil<milliseconds>(left).count()));
  }
  if (::poll(&ready, 1, left_ms) != 0 || !deadline.at) return;
  throw netstack::Error(EX_TEMPFAIL,
                        fmt::format("cannot ask {}: no answer came in time ({} s); see whether the "
                                    "switch{} is stopped or hangs",
                                    path, deadline.wait.count() / 1000, listener_text(fd)));
}

// Whoever refuses a long request answers and hangs up before it is sent.
bool hung_up(int errno_value) {
  return errno_value == EPIPE || errno_value == ECONNRESET;
}

void send_all(int fd, std::string_view text, const Deadline& deadline, const std::string& path) {
  while (!text.empty()) {
    wait_for(fd, POLLOUT, deadline, path);
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      text.remove_prefix(static_cast<size_t>(sent));
    } else if (hung_up(errno)) {
      return;  // the answer says why
    } else if (errno != EAGAIN && errno != EINTR) {
      throw broken(path, netstack::errno_text(errno));
    }
  }
}

// Some bytes; empty: the end.
std::string_view receive_some(int fd, std::array<char, 16384>& buffer, const Deadline& deadline,
                              const std::string& path) {
  while (true) {
    wait_for(fd, POLLIN, deadline, path);
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got >= 0) return {buffer.data(), static_cast<size_t>(got)};
    if (hung_up(errno)) return {};
    if (errno != EAGAIN && errno != EINTR) throw broken(path, netstack::errno_text(errno));
  }
}

// A VDE switch has the one socket and not the other.
void refuse_vde_switch(const std::string& directory) {
  if (::access((directory + "/control").c_str(), F_OK) == 0 ||
      ::access((directory + "/ctl").c_str(), F_OK) != 0) {
    return;
  }
  throw netstack::Error(EX_UNAVAILABLE,
                        fmt::format("cannot ask {}: its switch has no control socket, as "
                                    "vde_switch has none; make the LAN with `lanyard switch`",
                                    directory));
}

[[noreturn]] void refuse_stranger(const std::string& path) {
  throw netstack::Error(EX_PROTOCOL, fmt::format("cannot ask {}: what answers there is no "
                                                 "control socket; give a LAN's directory",
                                                 path));
}

}  // namespace

ControlAnswer ask_control(const std::string& directory, const std::string& method,
                          const std::string& path, const std::string& body,
                          const std::function<void(std::string_view)>& on_body, int timeout_ms) {
  Deadline deadline(timeout_ms);
  const std::string socket_path = directory + "/control";
  refuse_vde_switch(directory);
  const netstack::Fd fd = netstack::connect_unix(socket_path);
  send_all(fd.get(),
           fmt::format(
               "{} {} HTTP/1.1\r\nHost: lan\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
               method, path, body.size(), body),
           deadline, socket_path);
  std::array<char, 16384> buffer;
  HttpAnswer http;
  ControlAnswer answer;
  const auto streams = [&] { return on_body && http.status() < 300; };
  const auto take = [&](std::string_view part) {
    if (streams()) return on_body(part);
    answer.body += part;
    if (answer.body.size() > kAnswerInTime_size) throw broken(socket_path, "its answer has no end");
  };
  while (!http.is_whole()) {
    const std::string_view part = receive_some(fd.get(), buffer, deadline, socket_path);
    if (part.empty() && http.is_whole_at_end()) break;
    if (part.empty()) throw broken(socket_path, "it hung up before it had answered");
    if (!http.take(part, take)) refuse_stranger(socket_path);
    if (http.status() != 0 && streams()) deadline.at.reset();
  }
  answer.status = http.status();
  return answer;
}

}  // namespace tools
