// The handshake, from the switch's side:
//
//   client                               switch
//     │ connect DIR/ctl ────────────────►  accept (a Handshake, with kHandshake_ns to live)
//     │ request, 122 bytes + text ──────►  parse, ask the host for a port number,
//     │                                    connect a datagram socket to the client's path,
//     │                                    bind it to DIR/NNN.FD, hand the port to the host
//     │ ◄───── 110 bytes: that address ──  reply (VdePort)
//     │ connect its socket there
//
// NNN is the port's number, or a running one where the host does not number its ports.
//
// Whatever goes wrong on our side closes the ctl stream at once: a client blocks in recv() until it
// is answered, and the end of the stream is an answer. Clients that connect and say nothing are
// bounded in time and number; when there are too many the oldest goes, because a real client sends
// its request in the same breath as it connects, and a flood of silent ones cannot keep it out.
//
// Connect comes before bind, so nobody but the client can ever put a frame into the socket.
//
// A client names its socket and we open it with our rights. The mode of DIR/ctl therefore says who
// may attach, and should not be wider than whom one trusts with that.
#include "netstack/vde/vde_listener.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "netstack/base/error.h"

namespace netstack {
namespace {

std::string port_name(uint64_t number, const VdeRequest& request) {
  std::string name = fmt::format("vde {}", number);
  if (!request.description.empty()) name += " " + request.description;
  if (request.management) return name + " (asked for the management port)";
  if (request.port_number != 0) name += fmt::format(" (asked for port {})", request.port_number);
  return name;
}

// The user of the process that connected, as the kernel noted it: a client cannot choose it, unlike
// the owner of the socket file that it names.
std::optional<uid_t> peer_user(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  return peer.uid;
}

PlugRequest plug_request(int ctl, const VdeRequest& request) {
  PlugRequest plug;
  plug.port_number = request.port_number;
  plug.management = request.management;
  plug.owner = peer_user(ctl);
  plug.endpoint_id = ctl;
  plug.module = "unix prog";
  plug.description = request.description;
  return plug;
}

}  // namespace

VdeListener::VdeListener(Loop& loop, PortHost& host, Log& log, const LanDirectory& directory,
                         VdeModes modes)
    : loop_(loop),
      host_(host),
      log_(log, loop.clock(), fmt::format("clients of {}", directory.file("ctl"))),
      directory_(directory),
      modes_(modes),
      burst_(std::make_shared<DatagramBurst>()),
      acceptor_(loop, log_, listen_unix(directory.file("ctl"), modes.ctl, modes.group),
                [this](Fd ctl) { begin(std::move(ctl)); }) {}

VdeListener::~VdeListener() {
  for (const Handshake& handshake : handshakes_) loop_.cancel(handshake.deadline);
}

void VdeListener::begin(Fd ctl) {
  if (handshakes_.size() == kPendingHandshakes_count) {
    end(handshakes_.begin());
    turn_away(fmt::format("{} others wait that have not sent a request", kPendingHandshakes_count));
  }
  const auto handshake = handshakes_.emplace(handshakes_.end());
  try {
    handshake->ctl = std::make_unique<WatchedFd>(
        loop_, std::move(ctl), EPOLLIN, [this, handshake](uint32_t) { on_request(handshake); });
  } catch (...) {
    handshakes_.erase(handshake);
    throw;
  }
  handshake->deadline = loop_.after(kHandshake_ns, [this, handshake] {
    end(handshake);
    turn_away(fmt::format("it sent no request within {} s", kHandshake_ns / kSecond_ns));
  });
}

void VdeListener::on_request(Handshakes::iterator handshake) {
  std::array<uint8_t, kVdeRequestMax_size> bytes;
  const ssize_t got = ::recv(handshake->ctl->get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  Fd ctl = end(handshake);
  if (got > 0) answer(std::move(ctl), std::span(bytes).first(static_cast<size_t>(got)));
}

Fd VdeListener::end(Handshakes::iterator handshake) {
  loop_.cancel(handshake->deadline);
  Fd ctl = handshake->ctl->release();
  handshakes_.erase(handshake);
  return ctl;
}

void VdeListener::answer(Fd ctl, std::span<const uint8_t> bytes) {
  const auto parsed = parse_vde_request(bytes);
  if (const auto* wrong = std::get_if<std::string>(&parsed)) return turn_away(*wrong);
  try {
    plug_in(std::move(ctl), std::get<VdeRequest>(parsed));
  } catch (const Error& error) {
    turn_away(error.what());
  }
}

void VdeListener::plug_in(Fd ctl, const VdeRequest& request) {
  PlugRequest wanted = plug_request(ctl.get(), request);
  const PortChoice choice = host_.choose(wanted);
  if (!choice.refusal.empty()) return turn_away(choice.refusal);
  ++number_;
  wanted.port_number = choice.number.value_or(request.port_number);
  VdePlug plug{std::move(ctl), {}, {}};
  const uint64_t name_number = choice.number.value_or(1 + (number_ - 1) % 999);
  if (const std::string wrong = open_data(request, wanted, name_number, plug); !wrong.empty()) {
    return turn_away(wrong);
  }
  auto port =
      std::make_unique<VdePort>(loop_, host_, burst_, std::move(plug), port_name(number_, request));
  VdePort& plugged = *port;
  if (host_.add_plug(std::move(port), wanted) == nullptr) return turn_away("the LAN is full");
  plugged.reply();
}

// Empty, or what the host refused.
std::string VdeListener::open_data(const VdeRequest& request, const PlugRequest& wanted,
                                   uint64_t name_number, VdePlug& plug) {
  plug.data = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!plug.data) return fmt::format("no socket for it: {}; raise `ulimit -n`", errno_text(errno));
  const int data = plug.data.get();
  if (::connect(data, reinterpret_cast<const sockaddr*>(&request.client), sizeof request.client) !=
      0) {
    return fmt::format("cannot connect to its socket {}: {}", request.client.sun_path,
                       errno_text(errno));
  }
  // Stock switches name it so: number, dot, descriptor. The descriptor makes it unique.
  const std::string path = directory_.file(fmt::format("{:03}.{}", name_number, data));
  const mode_t mode = wanted.management ? modes_.management_data : modes_.data;
  if (const int refusal = bind_datagram(data, path, mode, plug.file); refusal != 0) {
    return fmt::format("cannot bind {}: {}", path, errno_text(refusal));
  }
  give_to_client(path, wanted, mode);
  return {};
}

// A client must be able to write to our socket. Root gives it the file; others can only open it to
// the group they were told. What cannot be changed stays with us, as the mode says.
void VdeListener::give_to_client(const std::string& path, const PlugRequest& wanted, mode_t mode) {
  constexpr auto kSame = static_cast<uid_t>(-1);
  if (::geteuid() == 0 && wanted.owner && ::chown(path.c_str(), *wanted.owner, kSame) == 0) {
    ::chmod(path.c_str(), mode & 0700);
    return;
  }
  const auto& group = wanted.management ? modes_.management_group : modes_.group;
  if (group && ::chown(path.c_str(), kSame, *group) != 0) {
    log_.line(fmt::format("cannot give {} to group {}: {}", path, *group, errno_text(errno)));
  }
}

void VdeListener::turn_away(std::string_view why) {
  log_.line(fmt::format("{}: a client was turned away: {}", acceptor_.path(), why));
}

}  // namespace netstack
