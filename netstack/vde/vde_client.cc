// The handshake from the client's side (the switch's is in vde_listener.cc):
//
//   connect DIR/ctl ─► bind DIR/.PID-N ─► send the request ─► receive 110 bytes: an address
//                      ─► connect our socket to it ─► unlink DIR/.PID-N
//
// The name of our socket is needed only until the switch has connected to it, so it goes at once,
// and a client that is killed leaves nothing. Where DIR cannot be written to, or its path leaves no
// room, the name is made in /var/tmp or /tmp instead, as stock clients do it.
//
// The switch opens our socket by name, with its own rights. A switch of another user than root or
// us could not, so, unless a group is asked for, the socket is opened to the switch's group, or if
// we may not give it that group, to everyone, for the moment of the handshake.
//
// This blocks: a program that plugs itself in has nothing to do before it is plugged in. Stock
// vde_switch without a free port keeps its clients waiting for ever; hence the limit.
#include "netstack/vde/vde_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "netstack/base/error.h"
#include "netstack/base/number.h"
#include "netstack/port/unix_socket.h"
#include "netstack/vde/vde_request.h"

namespace netstack {
namespace {

constexpr unsigned kNames_count = 100'000;            // PID-00000 to PID-99999
constexpr uint32_t kPortNumberMax = (1U << 24U) - 1;  // the request has 24 bits for it

Error cannot_plug(const VdePlugWish& wish, const std::string& what) {
  return Error(EX_UNAVAILABLE, fmt::format("cannot plug into {}: {}", wish.where.directory, what));
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

std::string default_switch() {
  std::vector<std::string> places;
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    places.push_back(fmt::format("{}/.vde2/default.switch", home));
  }
  places.insert(places.end(), {"/var/run/vde.ctl", "/tmp/vde.ctl"});
  for (const std::string& place : places) {
    if (is_socket(place + "/ctl")) return place;
  }
  throw Error(EX_UNAVAILABLE, fmt::format("cannot find a switch: none of {} is one; name its "
                                          "directory with -s DIR",
                                          fmt::join(places, ", ")));
}

// Takes "[5]" or "[port=5]" off the end.
std::optional<uint32_t> take_port_number(std::string_view& text) {
  if (!text.ends_with(']')) return std::nullopt;
  const size_t bracket = text.rfind('[');
  if (bracket == std::string_view::npos) return std::nullopt;
  std::string_view number = text.substr(bracket + 1, text.size() - bracket - 2);
  if (number.starts_with("port=")) number.remove_prefix(5);
  const auto value = parse_number<uint32_t>(number);
  if (!value || *value > kPortNumberMax) {
    throw Error(EX_USAGE, fmt::format("cannot use \"{}\" as a switch: between [ and ] goes a port "
                                      "number, as in /tmp/vde.ctl[5]",
                                      text));
  }
  text = text.substr(0, bracket);
  return value;
}

// --- the handshake ------------------------------------------------------------------------------

// Until there is something to read from `fd` (-1: for the time alone). False: the time is over.
bool wait_to_read(const VdePlugWish& wish, int fd, uint64_t wait_ms) {
  std::array<pollfd, 2> fds{{{fd, POLLIN, 0}, {wish.give_up_fd, POLLIN, 0}}};
  const int ready = ::poll(fds.data(), fds.size(), static_cast<int>(wait_ms));
  if (fds[1].revents != 0) throw cannot_plug(wish, "it has not answered yet, and we are to end");
  return ready != 0;
}

// A switch with a full backlog is asked again: there is nothing to wait on.
Fd connect_ctl(const VdePlugWish& wish) {
  constexpr uint64_t kAgain_ms = 20;
  Fd ctl(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!ctl) throw host_error(errno, "make a UNIX socket", "raise `ulimit -n`");
  const sockaddr_un address = unix_address(wish.where.ctl);
  for (uint64_t waited_ms = 0;; waited_ms += kAgain_ms) {
    if (::connect(ctl.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return ctl;
    }
    if (errno != EAGAIN || waited_ms >= wish.answer_ms_max) {
      throw cannot_plug(wish, fmt::format("{}; {}", errno_text(errno), connect_remedy(errno)));
    }
    wait_to_read(wish, -1, kAgain_ms);
  }
}

bool may_open_all(const ucred& peer) {
  return peer.uid == 0 || peer.uid == ::geteuid();
}

// Lets the switch open our socket. Failing to is not fatal: the switch says whether it could.
void open_to_switch(const VdePlugWish& wish, int ctl, const std::string& path) {
  if (wish.group) {
    if (::chown(path.c_str(), static_cast<uid_t>(-1), *wish.group) != 0) {
      throw cannot_plug(
          wish, fmt::format("our socket cannot have group {}: {}", *wish.group, errno_text(errno)));
    }
    return;
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  const bool known = ::getsockopt(ctl, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
  if (!known || may_open_all(peer) || (wish.mode & 077U) != 0) return;
  const bool ours = ::chown(path.c_str(), static_cast<uid_t>(-1), peer.gid) == 0;
  ::chmod(path.c_str(), wish.mode | (ours ? 060U : 066U));
}

// Binds the socket to a name nobody uses. An empty result: `place` will not do, errno says why.
SocketFile bind_in(const std::string& place, int data, mode_t mode) {
  SocketFile file;
  for (unsigned number = 0; number < kNames_count; ++number) {
    const std::string path = fmt::format("{}{:05}-{:05}", place, ::getpid(), number);
    if (path.size() > kSocketPathMax_size) {
      errno = ENAMETOOLONG;
      return {};
    }
    if (::access(path.c_str(), F_OK) == 0) continue;
    errno = bind_datagram(data, path, mode, file);
    return file;
  }
  errno = EADDRINUSE;
  return {};
}

SocketFile bind_data(const VdePlugWish& wish, int data) {
  for (const std::string& place :
       {wish.where.directory + "/.", std::string("/var/tmp/vde."), std::string("/tmp/vde.")}) {
    SocketFile file = bind_in(place, data, wish.mode);
    if (!file.path().empty()) return file;
  }
  throw cannot_plug(
      wish, fmt::format("no place for our socket: {}; make /tmp writable", errno_text(errno)));
}

void send_request(const VdePlugWish& wish, int ctl, const std::string& path) {
  VdeRequestWire wire{};
  wire.magic = kVdeMagic;
  wire.version = kVdeVersion;
  const auto& number = wish.where.port_number;
  wire.type = number == 0 ? kVdeTypeManagement : number.value_or(0) << 8U;
  wire.family = AF_UNIX;
  path.copy(wire.path.data(), wire.path.size());
  std::array<char, sizeof wire + kVdeDescriptionMax_size> bytes;
  std::memcpy(bytes.data(), &wire, sizeof wire);
  const size_t size =
      sizeof wire + wish.description.copy(&bytes[sizeof wire], kVdeDescriptionMax_size);
  if (::send(ctl, bytes.data(), size, MSG_NOSIGNAL) != static_cast<ssize_t>(size)) {
    throw cannot_plug(wish, fmt::format("the request could not be sent: {}", errno_text(errno)));
  }
}

VdeReplyWire receive_reply(const VdePlugWish& wish, int ctl) {
  VdeReplyWire reply{};
  size_t have = 0;
  while (have < sizeof reply) {
    const ssize_t got =
        ::recv(ctl, reinterpret_cast<uint8_t*>(&reply) + have, sizeof reply - have, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      if (wait_to_read(wish, ctl, wish.answer_ms_max)) continue;
      throw cannot_plug(wish, fmt::format("no answer within {} ms; a stock vde_switch is silent "
                                          "when its ports are used up: start it with a larger -n",
                                          wish.answer_ms_max));
    }
    if (got <= 0) {
      throw cannot_plug(wish,
                        "it was refused; the switch's log says why (no free port, another "
                        "user's port, or it cannot open our socket: see -m and -g)");
    }
    have += static_cast<size_t>(got);
  }
  if (reply.sun_family != AF_UNIX) {
    throw cannot_plug(wish, "the answer is not that of a VDE switch; is this its directory?");
  }
  return reply;
}

void connect_data(const VdePlugWish& wish, int data, const VdeReplyWire& address) {
  if (::connect(data, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const std::string_view path(address.sun_path,
                                ::strnlen(address.sun_path, sizeof address.sun_path));
    throw cannot_plug(
        wish, fmt::format("its data socket {} does not answer: {}", path, errno_text(errno)));
  }
  // Stock clients give the switch's end their own mode too; only its owner can.
  if (std::memchr(address.sun_path, '\0', sizeof address.sun_path) != nullptr) {
    ::chmod(address.sun_path, wish.mode);
  }
}

}  // namespace

VdeLocator VdeLocator::parse(std::string_view text) {
  if (text.starts_with("vde://")) text.remove_prefix(6);
  VdeLocator locator;
  locator.port_number = take_port_number(text);
  std::string path = text.empty() ? default_switch() : std::string(text);
  std::error_code wrong;
  const std::filesystem::path whole = std::filesystem::canonical(path, wrong);
  if (wrong) {
    throw Error(EX_UNAVAILABLE, fmt::format("cannot find the switch {}: {}; is it running?", path,
                                            wrong.message()));
  }
  const bool names_ctl = is_socket(whole);
  locator.directory = names_ctl ? whole.parent_path() : whole;
  locator.ctl = names_ctl ? whole : whole / "ctl";
  return locator;
}

VdePlug plug_into_vde(const VdePlugWish& wish) {
  VdePlug plug{connect_ctl(wish), {}, {}};
  plug.data = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!plug.data) throw host_error(errno, "make a UNIX socket", "raise `ulimit -n`");
  const SocketFile name = bind_data(wish, plug.data.get());
  open_to_switch(wish, plug.ctl.get(), name.path());
  send_request(wish, plug.ctl.get(), name.path());
  connect_data(wish, plug.data.get(), receive_reply(wish, plug.ctl.get()));
  return plug;
}

std::unique_ptr<VdePort> open_vde_plug(Loop& loop, PortHost& host, const VdePlugWish& wish) {
  return std::make_unique<VdePort>(loop, host, std::make_shared<DatagramBurst>(),
                                   plug_into_vde(wish), "LAN " + wish.where.directory);
}

std::string describe_vde_client(std::string_view program) {
  const passwd* user = ::getpwuid(::geteuid());
  return fmt::format("{} user={} pid={}", program,
                     user != nullptr ? user->pw_name : std::to_string(::geteuid()), ::getpid());
}

}  // namespace netstack
