#include "tools/lanyard/control_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "netstack/port/unix_socket.h"

namespace tools {

namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr size_t kHeadMax_size = 64 * 1024;

netstack::Error broken(const std::string& path, const std::string& happened) {
  return netstack::Error(
      EX_UNAVAILABLE, fmt::format("cannot ask {}: {}; see what the switch says", path, happened));
}

void send_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    pollfd ready{fd, POLLOUT, 0};
    ::poll(&ready, 1, -1);
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      text.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EAGAIN && errno != EINTR) {
      throw broken(path, netstack::errno_text(errno));
    }
  }
}

// Some bytes; empty: the end.
std::string_view receive_some(int fd, std::array<char, 16384>& buffer, const std::string& path) {
  while (true) {
    pollfd ready{fd, POLLIN, 0};
    ::poll(&ready, 1, -1);
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got >= 0) return {buffer.data(), static_cast<size_t>(got)};
    if (errno != EAGAIN && errno != EINTR) throw broken(path, netstack::errno_text(errno));
  }
}

int status_of(std::string_view head, const std::string& path) {
  int status = 0;
  const size_t space = head.find(' ');
  if (head.starts_with("HTTP/1.") && space != std::string_view::npos) {
    std::from_chars(head.data() + space + 1, head.data() + head.size(), status);
  }
  if (status < 100) {
    throw netstack::Error(EX_PROTOCOL, fmt::format("cannot ask {}: what answers there is no "
                                                   "control socket; give a LAN's directory",
                                                   path));
  }
  return status;
}

}  // namespace

ControlAnswer ask_control(const std::string& directory, const std::string& method,
                          const std::string& path, const std::string& body,
                          const std::function<void(std::string_view)>& on_body) {
  const std::string socket_path = directory + "/control";
  const netstack::Fd fd = netstack::connect_unix(socket_path);
  send_all(fd.get(),
           fmt::format("{} {} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", method, path, body.size(),
                       body),
           socket_path);
  std::array<char, 16384> buffer;
  std::string head;
  size_t end = std::string::npos;
  while ((end = head.find(kHeadEnd)) == std::string::npos) {
    const std::string_view part = receive_some(fd.get(), buffer, socket_path);
    if (part.empty()) throw broken(socket_path, "it ended in the middle of its answer");
    head += part;
    if (head.size() > kHeadMax_size) status_of({}, socket_path);
  }
  ControlAnswer answer{status_of(head, socket_path), {}};
  const auto take = [&](std::string_view part) {
    if (on_body && answer.status < 300) {
      on_body(part);
    } else {
      answer.body += part;
    }
  };
  take(std::string_view(head).substr(end + kHeadEnd.size()));
  for (auto part = receive_some(fd.get(), buffer, socket_path); !part.empty();
       part = receive_some(fd.get(), buffer, socket_path)) {
    take(part);
  }
  return answer;
}

}  // namespace tools
