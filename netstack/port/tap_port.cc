// A tap descriptor carries one frame per read or write; there is no call for many. A pull reads up
// to kBurstFrames of them and delivers them as one burst, so that at least everything behind the
// port is shared. The interface is opened without offloads: the kernel hands over frames of MTU
// size with finished checksums, and expects the same.
//
// Writing to a tap never waits: the frame is received on the spot or refused. Refused (interface
// down, no memory) is lost, as on a real cable; there is no sense in keeping a frame for an
// interface that is down.
//
// Reading fails for good only when the interface has been deleted under us (EBADFD).
#include "netstack/port/tap_port.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sysexits.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "netstack/base/error.h"

namespace netstack {
namespace {

constexpr const char* kTapDevice = "/dev/net/tun";
constexpr size_t kPieces_count = 16;  // of one frame, per writev

bool passes(int errno_value) {
  return errno_value == EAGAIN || errno_value == EINTR;
}

Error cannot_open_device(const std::string& interface) {
  const int refusal = errno;
  const char* remedy = refusal == EACCES || refusal == EPERM
                           ? "run as root, or join a veth pair with `lanyard plug --packet`"
                           : "load the tun module or pass the device into the sandbox; without it, "
                             "join a veth pair with `lanyard plug --packet`";
  return host_error(refusal, fmt::format("open {} for {}", kTapDevice, interface), remedy,
                    EX_UNAVAILABLE);
}

Error cannot_attach(const std::string& interface) {
  const int refusal = errno;
  const char* remedy = "";
  switch (refusal) {
    case EPERM:
      remedy = "run with CAP_NET_ADMIN, or have root make it for you: ip tuntap add mode tap user";
      break;
    case EBUSY:
      remedy = "another program has it open; stop that or choose another name";
      break;
    case EINVAL:
      remedy = "it exists and is no plain tap interface; choose another name";
      break;
    case ENOTTY:
      remedy = "what is there is no tun device; join a veth pair with `lanyard plug --packet`";
      break;
    default:
      break;
  }
  return host_error(refusal, fmt::format("attach to tap interface {}", interface), remedy,
                    EX_UNAVAILABLE);
}

}  // namespace

struct TapPort::Ingress {
  static constexpr size_t kSlot_size = (kFrameBytesMax + 63) / 64 * 64;

  FrameBatch<kBurstFrames> batch;
  uint8_t bytes[kBurstFrames * kSlot_size];  // pages never read into cost nothing
};

TapPort::TapPort(Loop& loop, PortHost& host, Fd tap, std::string interface)
    : Port("tap " + interface, kFrameBytesMax),
      host_(host),
      interface_(std::move(interface)),
      ingress_(std::make_unique_for_overwrite<Ingress>()),
      tap_(loop, std::move(tap), EPOLLIN, [this](uint32_t) { pull(); }) {}

TapPort::~TapPort() = default;

void TapPort::pull() {
  FrameBatch<kBurstFrames>& batch = ingress_->batch;
  batch.clear();
  int refusal = 0;
  for (size_t i = 0; i < kBurstFrames; ++i) {
    uint8_t* slot = &ingress_->bytes[i * Ingress::kSlot_size];
    const ssize_t got = ::read(tap_.get(), slot, kFrameBytesMax);
    if (got < 0) {
      refusal = errno;
      break;
    }
    if (!batch.add(slot, static_cast<size_t>(got))) count().drop(DropReason::kRunt);
  }
  deliver(batch.frames());
  if (refusal != 0 && !passes(refusal)) leave("the interface was removed");
}

size_t TapPort::transmit(std::span<const Frame> burst) noexcept {
  for (const Frame& frame : burst) write_one(frame);
  return burst.size();
}

// What the kernel refuses was counted as taken: put that right.
void TapPort::write_one(const Frame& frame) {
  std::array<iovec, kPieces_count> pieces;
  DropReason reason = DropReason::kPeerGone;
  if (!left_ && frame.body.size() < pieces.size()) {
    pieces[0] = {const_cast<uint8_t*>(frame.head.data()), frame.head_bytes};
    std::copy(frame.body.begin(), frame.body.end(), pieces.begin() + 1);
    const int count = static_cast<int>(1 + frame.body.size());
    if (::writev(tap_.get(), pieces.data(), count) >= 0) return;
    if (errno != EIO && errno != EBADFD) reason = DropReason::kQueueFull;  // ENOMEM, ENOBUFS, …
  }
  --count().egress_frames;
  count().egress_bytes -= frame.bytes;
  count().drop(reason);
}

void TapPort::leave(std::string_view why) {
  if (std::exchange(left_, true)) return;
  tap_.forget();
  host_.remove(*this, why);
}

std::unique_ptr<TapPort> open_tap(Loop& loop, PortHost& host, const std::string& interface) {
  if (!interface.empty()) check_interface_name(interface);
  Fd tap(::open(kTapDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!tap) throw cannot_open_device(interface);
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(tap.get(), TUNSETIFF, &request) != 0) throw cannot_attach(interface);
  return std::make_unique<TapPort>(loop, host, std::move(tap), request.ifr_name);
}

int probe_tap_device() {
  const Fd tap(::open(kTapDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  unsigned features = 0;
  if (!tap || ::ioctl(tap.get(), TUNGETFEATURES, &features) != 0) return errno;
  return 0;
}

// As the kernel's dev_valid_name() has it.
void check_interface_name(const std::string& interface) {
  const bool fits = !interface.empty() && interface.size() < IFNAMSIZ;
  const bool refused = interface == "." || interface == ".." ||
                       interface.find_first_of("/: \t\n\v\f\r") != std::string::npos;
  if (fits && !refused) return;
  throw Error(EX_USAGE, fmt::format("cannot use \"{}\" as an interface's name: names have 1 to {} "
                                    "characters without slash, colon or space; choose another one",
                                    interface, IFNAMSIZ - 1));
}

}  // namespace netstack
