// A tap descriptor carries one frame per read or write; there is no call for many. A pull reads up
// to kBurstFrames of them and delivers them as one burst, so that at least everything behind the
// port is shared.
//
// Offloads (IFF_VNET_HDR, TUNSETOFFLOAD): a virtio-net header goes in front of each frame, so that
// checksums stay partial and TCP travels as super-frames of up to 64 KiB both ways, as between two
// interfaces of one machine. They cost nothing when unused, so there is no option to refuse them;
// a descriptor that somebody else has opened without them works without them.
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
constexpr size_t kPieces_count = 64;  // of one frame, per writev; more are copied into one

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

size_t header_size_of(int tap) {
  ifreq request{};
  const bool behind_header =
      ::ioctl(tap, TUNGETIFF, &request) == 0 && (request.ifr_flags & IFF_VNET_HDR) != 0;
  return behind_header ? sizeof(VnetHeaderWire) : 0;
}

}  // namespace

struct TapPort::Ingress {
  static constexpr size_t kSlot_size = (sizeof(VnetHeaderWire) + kFrameBytesMax + 63) / 64 * 64;

  FrameBatch<kBurstFrames> batch;
  uint8_t bytes[kBurstFrames * kSlot_size];  // pages never read into cost nothing
  uint8_t joined[kFrameBytesMax];            // a frame in too many pieces for writev
};

TapPort::TapPort(Loop& loop, PortHost& host, Fd tap, std::string interface)
    : Port("tap " + interface, kFrameBytesMax),
      host_(host),
      interface_(std::move(interface)),
      ingress_(std::make_unique_for_overwrite<Ingress>()),
      header_size_(header_size_of(tap.get())),
      tap_(loop, std::move(tap), EPOLLIN, [this](uint32_t) { pull(); }) {
  if (header_size_ == 0) return;
  constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (::ioctl(tap_.get(), TUNSETOFFLOAD, kOffloads) != 0) return;
  take_offloads(kOffloadChecksum | kOffloadTcp4 | kOffloadTcp6 | kOffloadEcn, true);
}

TapPort::~TapPort() = default;

void TapPort::pull() {
  FrameBatch<kBurstFrames>& batch = ingress_->batch;
  batch.clear();
  int refusal = 0;
  for (size_t i = 0; i < kBurstFrames; ++i) {
    uint8_t* slot = &ingress_->bytes[i * Ingress::kSlot_size];
    const ssize_t got = ::read(tap_.get(), slot, header_size_ + kFrameBytesMax);
    if (got < 0) {
      refusal = errno;
      break;
    }
    take(slot, static_cast<size_t>(got));
  }
  deliver(batch.frames());
  if (refusal != 0 && !passes(refusal)) leave("the interface was removed");
}

void TapPort::take(const uint8_t* slot, size_t size) {
  if (size < header_size_) return count_drop(DropReason::kRunt);
  VnetHeaderWire header{};
  std::memcpy(&header, slot, header_size_);
  const auto offload = read_vnet_header(header);
  if (!offload) return count_drop(DropReason::kUnsupported);
  FrameBatch<kBurstFrames>& batch = ingress_->batch;
  if (!batch.add(slot + header_size_, size - header_size_)) return count_drop(DropReason::kRunt);
  if (header_size_ != 0) batch.frames().back().offload = *offload;
}

size_t TapPort::transmit(std::span<const Frame> burst) noexcept {
  for (const Frame& frame : burst) write_one(frame);
  return burst.size();
}

// What the kernel refuses was counted as taken: put that right.
void TapPort::write_one(const Frame& frame) {
  std::array<iovec, kPieces_count> pieces;
  VnetHeaderWire header = write_vnet_header(frame.offload);
  DropReason reason = DropReason::kPeerGone;
  if (!left_) {
    pieces[0] = {&header, header_size_};
    size_t count = 2;
    if (frame.body.size() + count <= pieces.size()) {
      pieces[1] = {const_cast<uint8_t*>(frame.head.data()), frame.head_bytes};
      std::copy(frame.body.begin(), frame.body.end(), pieces.begin() + 2);
      count += frame.body.size();
    } else {
      pieces[1] = {ingress_->joined, copy_frame(frame, ingress_->joined)};
    }
    if (::writev(tap_.get(), pieces.data(), static_cast<int>(count)) >= 0) return;
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
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
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
