// A packet socket (packet(7)) sees frames as the kernel has them, which is not as they would be on
// a wire. Four things are put right here:
//
//  - Offloads. Between veth ends, checksums stay partial and TCP travels as super-frames of up to
//    64 KiB. PACKET_VNET_HDR puts a virtio-net header before each frame that says so. It
//    becomes Frame::offload, and whoever receives the frame finishes what its peer cannot do. What
//    leaves by the interface is finished: a card's driver may know nothing of super-frames.
//  - VLAN tags. The kernel takes the outer 802.1Q or 802.1ad tag out of a frame it receives and
//    keeps it beside the frame (PACKET_AUXDATA). It is put back into Frame::head, which is a copy
//    anyway: the body is not touched. Checksum offsets move by the tag's size.
//  - Our own frames, and the machine's. PACKET_IGNORE_OUTGOING keeps them from coming back in.
//  - Other machines' unicast frames, which a card would filter out: promiscuous mode.
//
// Frames come by recvmmsg and go by sendmmsg. A memory-mapped ring (TPACKET_V3) would save the
// system calls, but its slots have one size, and super-frames would need slots of 64 KiB each.
//
// The kernel may refuse single frames: longer than the MTU (EMSGSIZE), or lost in a queue below
// (ENOBUFS). Those are counted and passed over, the ones behind them go on. A full socket buffer
// (EAGAIN) makes frames wait in an EgressQueue. What the kernel drops because we read too slowly it
// counts itself (PACKET_STATISTICS); those numbers are taken over into the port's.
//
// When the interface goes down or away, the socket reports ENETDOWN and the port ends.
#include "netstack/port/packet_port.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sysexits.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/base/error.h"
#include "netstack/port/tap_port.h"
#include "netstack/port/unix_socket.h"

namespace netstack {
namespace {

constexpr size_t kIovecs_count = 320;  // for the frames of one sendmmsg

bool passes(int errno_value) {
  return errno_value == EAGAIN || errno_value == EINTR;
}

bool link_is_gone(int errno_value) {
  return errno_value == ENETDOWN || errno_value == ENXIO || errno_value == ENODEV;
}

// Every frame that leaves is finished: one header of zeros serves all.
constexpr VnetHeaderWire kFinished{};

// As many frames as one sendmmsg carries, each behind its virtio-net header.
class Gather {
 public:
  void add(std::span<const Frame> burst) {
    for (const Frame& frame : burst) {
      if (!room(2 + frame.body.size())) return;
      begin();
      piece(const_cast<uint8_t*>(frame.head.data()), frame.head_bytes);
      for (const iovec& part : frame.body) piece(part.iov_base, part.iov_len);
    }
  }
  void add(std::span<const iovec> frames) {
    for (const iovec& frame : frames) {
      if (!room(2)) return;
      begin();
      piece(frame.iov_base, frame.iov_len);
    }
  }
  size_t frame_count() const { return frame_count_; }
  int send(int fd) {
    return ::sendmmsg(fd, messages_.data(), static_cast<unsigned>(frame_count_), MSG_DONTWAIT);
  }

 private:
  bool room(size_t pieces) const {
    return frame_count_ < messages_.size() && piece_count_ + pieces <= pieces_.size();
  }
  void begin() {
    msghdr& message = messages_[frame_count_++].msg_hdr;
    message = {};
    message.msg_iov = &pieces_[piece_count_];
    piece(const_cast<VnetHeaderWire*>(&kFinished), sizeof kFinished);
  }
  void piece(void* base, size_t size) {
    pieces_[piece_count_++] = {base, size};
    ++messages_[frame_count_ - 1].msg_hdr.msg_iovlen;
  }

  std::array<mmsghdr, kBurstFrames> messages_;
  std::array<iovec, kIovecs_count> pieces_;
  size_t frame_count_ = 0;
  size_t piece_count_ = 0;
};

const tpacket_auxdata* auxiliary_of(const msghdr& message) {
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr;
       at = CMSG_NXTHDR(const_cast<msghdr*>(&message), at)) {
    if (at->cmsg_level == SOL_PACKET && at->cmsg_type == PACKET_AUXDATA) {
      return reinterpret_cast<const tpacket_auxdata*>(CMSG_DATA(at));
    }
  }
  return nullptr;
}

// Puts a tag that the kernel took out back behind the addresses.
void restore_tag(const tpacket_auxdata& auxiliary, Frame& frame) {
  const bool named = (auxiliary.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
  const uint16_t tpid = named ? auxiliary.tp_vlan_tpid : kEthertypeVlan;
  const std::array<uint8_t, 2> ethertype{frame.head[12], frame.head[13]};
  write_u16(&frame.head[12], tpid);
  write_u16(&frame.head[14], auxiliary.tp_vlan_tci);
  frame.head[16] = ethertype[0];
  frame.head[17] = ethertype[1];
  frame.head_bytes = kTaggedHeadBytes;
  frame.bytes += kTagBytes;
  if (frame.offload.needs_checksum) frame.offload.checksum_start += kTagBytes;
}

}  // namespace

// What one recvmmsg brings, and the frames made of it.
struct PacketPort::Ingress {
  static constexpr size_t kSlot_size = (kFrameBytesMax + 63) / 64 * 64;
  static constexpr size_t kControl_size = CMSG_SPACE(sizeof(tpacket_auxdata));

  Ingress();
  void rearm();

  std::array<mmsghdr, kPacketBurst_count> messages{};
  std::array<std::array<iovec, 2>, kPacketBurst_count> pieces;
  std::array<VnetHeaderWire, kPacketBurst_count> headers;
  struct alignas(cmsghdr) Control {
    std::array<uint8_t, kControl_size> bytes;
  };
  std::array<Control, kPacketBurst_count> controls;
  std::array<Frame, kPacketBurst_count> frames;
  std::array<iovec, kPacketBurst_count> bodies;
  size_t frame_count = 0;
  std::unique_ptr<uint8_t[]> bytes;  // pages never received into cost nothing
};

PacketPort::Ingress::Ingress()
    : bytes(std::make_unique_for_overwrite<uint8_t[]>(kPacketBurst_count * kSlot_size)) {
  for (size_t i = 0; i < kPacketBurst_count; ++i) {
    pieces[i][0] = {&headers[i], sizeof headers[i]};
    pieces[i][1] = {&bytes[i * kSlot_size], kFrameBytesMax};
    messages[i].msg_hdr.msg_iov = pieces[i].data();
    messages[i].msg_hdr.msg_iovlen = pieces[i].size();
    messages[i].msg_hdr.msg_control = controls[i].bytes.data();
  }
}

void PacketPort::Ingress::rearm() {
  for (mmsghdr& message : messages) message.msg_hdr.msg_controllen = kControl_size;
  frame_count = 0;
}

PacketPort::PacketPort(Loop& loop, PortHost& host, Fd socket, std::string interface)
    : Port("interface " + interface, kFrameBytesMax),
      host_(host),
      interface_(std::move(interface)),
      interface_index_(::if_nametoindex(interface_.c_str())),
      ingress_(std::make_unique<Ingress>()),
      socket_(loop, std::move(socket), EPOLLIN, [this](uint32_t events) { on_ready(events); }) {}

PacketPort::~PacketPort() = default;

// --- in ----------------------------------------------------------------------------------------

void PacketPort::on_ready(uint32_t epoll_events) {
  if ((epoll_events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) pull();
  if ((epoll_events & EPOLLOUT) != 0 && !left_) drain();
}

void PacketPort::pull() {
  ingress_->rearm();
  const int got =
      ::recvmmsg(socket_.get(), ingress_->messages.data(), kPacketBurst_count, 0, nullptr);
  if (got < 0) {
    if (link_is_gone(errno)) return leave();
    // A super-frame that has no virtio-net name is refused with EINVAL, and is gone.
    if (!passes(errno)) count().drop(DropReason::kUnsupported);
    return;
  }
  for (size_t slot = 0; slot < static_cast<size_t>(got); ++slot) take(slot);
  deliver_batch();
  if (static_cast<size_t>(got) == kPacketBurst_count) count_kernel_drops();
}

void PacketPort::take(size_t slot) {
  Ingress& in = *ingress_;
  const mmsghdr& message = in.messages[slot];
  const auto offload = read_vnet_header(in.headers[slot]);
  if (!offload) return count_drop(DropReason::kUnsupported);
  if ((message.msg_hdr.msg_flags & MSG_TRUNC) != 0) return count_drop(DropReason::kTooLong);

  Frame& frame = in.frames[in.frame_count];
  iovec& body = in.bodies[in.frame_count];
  const size_t size = message.msg_len - std::min<size_t>(message.msg_len, sizeof(VnetHeaderWire));
  if (!view_frame(static_cast<const uint8_t*>(in.pieces[slot][1].iov_base), size, frame, body)) {
    return count_drop(DropReason::kRunt);
  }
  if (!offload_fits(*offload, frame.bytes)) return count_drop(DropReason::kBadOffload);
  frame.offload = *offload;
  const tpacket_auxdata* auxiliary = auxiliary_of(message.msg_hdr);
  if (auxiliary != nullptr && (auxiliary->tp_status & TP_STATUS_VLAN_VALID) != 0) {
    if (frame.tagged()) {  // one more below: the head holds the outer one, the body the inner
      frame.head_bytes = kEthernetHeadBytes;
      body = {static_cast<uint8_t*>(body.iov_base) - kTagBytes, body.iov_len + kTagBytes};
    }
    restore_tag(*auxiliary, frame);
  }
  if (frame.bytes > kFrameBytesMax) return count_drop(DropReason::kTooLong);
  ++in.frame_count;
}

void PacketPort::deliver_batch() {
  deliver({ingress_->frames.data(), ingress_->frame_count});
  ingress_->frame_count = 0;
}

// Reading the statistics sets the kernel's to zero.
void PacketPort::count_kernel_drops() {
  tpacket_stats statistics{};
  socklen_t size = sizeof statistics;
  if (::getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0) return;
  if (statistics.tp_drops != 0) count().drop(DropReason::kQueueFull, statistics.tp_drops);
}

// --- out ---------------------------------------------------------------------------------------

size_t PacketPort::transmit(std::span<const Frame> burst) noexcept {
  drop_reason_ = left_ ? DropReason::kPeerGone : DropReason::kQueueFull;
  if (left_) return 0;
  const size_t sent = queue_.empty() ? transmit_now(burst) : 0;
  if (sent == burst.size() || drop_reason_ == DropReason::kPeerGone) return sent;
  const size_t queued = queue_.push(burst.subspan(sent));
  socket_.rewatch(EPOLLIN | EPOLLOUT);
  return sent + queued;
}

size_t PacketPort::transmit_now(std::span<const Frame> burst) {
  size_t sent = 0;
  while (sent < burst.size()) {
    Gather gather;
    gather.add(burst.subspan(sent));
    if (gather.frame_count() == 0) return sent;  // too many pieces: the queue will make it one
    const int put = gather.send(socket_.get());
    if (put > 0) {
      sent += static_cast<size_t>(put);
    } else if (pass_over_refused(burst[sent].bytes)) {
      ++sent;
    } else {
      return sent;
    }
  }
  return sent;
}

// After sendmmsg has failed at its first frame: true when only that frame is lost. It is, or will
// be, counted as taken, which is put right here.
bool PacketPort::pass_over_refused(uint32_t frame_bytes) {
  const int refusal = errno;
  if (passes(refusal)) return false;
  if (link_is_gone(refusal)) {
    drop_reason_ = DropReason::kPeerGone;
    return false;
  }
  --count().egress_frames;
  count().egress_bytes -= frame_bytes;
  count().drop(refusal == EMSGSIZE ? DropReason::kTooLong : DropReason::kQueueFull);
  return true;
}

void PacketPort::drain() {
  drop_reason_ = DropReason::kQueueFull;
  std::array<iovec, kBurstFrames> frames;
  for (size_t burst = 0; burst < kPacketDrainBursts_count && !queue_.empty(); ++burst) {
    const size_t frame_count = queue_.peek_frames(frames);
    Gather gather;
    gather.add(std::span<const iovec>(frames).first(frame_count));
    const int put = gather.send(socket_.get());
    if (put > 0) {
      queue_.pop_frames(static_cast<size_t>(put));
    } else if (pass_over_refused(static_cast<uint32_t>(frames[0].iov_len))) {
      queue_.pop_frames(1);
    } else if (drop_reason_ == DropReason::kPeerGone) {
      queue_.abandon(count());
    } else {
      return;
    }
  }
  if (queue_.empty()) socket_.rewatch(EPOLLIN);
}

void PacketPort::leave() {
  if (std::exchange(left_, true)) return;
  count_kernel_drops();
  queue_.abandon(count());
  socket_.forget();
  char name[IF_NAMESIZE];
  const bool there = ::if_indextoname(interface_index_, name) != nullptr;
  host_.remove(*this, there ? "the interface went down" : "the interface was removed");
}

// --- opening -----------------------------------------------------------------------------------

namespace {

Error cannot_join(const std::string& interface, int refusal, const char* remedy) {
  return host_error(refusal, "join interface " + interface, remedy, EX_UNAVAILABLE);
}

void set_option(int socket, int option, int value, const std::string& interface) {
  if (::setsockopt(socket, SOL_PACKET, option, &value, sizeof value) != 0) {
    throw cannot_join(interface, errno, "this needs Linux 4.20 or later");
  }
}

// Up, and Ethernet.
void examine(int socket, const std::string& interface) {
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) != 0) {
    throw cannot_join(interface, errno, "`ip link` lists what there is");
  }
  if ((request.ifr_flags & IFF_UP) == 0) {
    throw Error(EX_UNAVAILABLE,
                fmt::format("cannot join interface {}: it is down; run `ip link set {} up`",
                            interface, interface));
  }
  if (::ioctl(socket, SIOCGIFHWADDR, &request) != 0 ||
      request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    throw Error(EX_UNAVAILABLE, fmt::format("cannot join interface {}: it carries no Ethernet "
                                            "frames; join a veth or a bridge",
                                            interface));
  }
}

// Super-frames are big and the default buffer holds three of them.
void raise_receive_buffer(int socket) {
  const int size = kPacketReceiveBuffer_size;
  if (::setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0) return;
  ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

void become_promiscuous(int socket, int index, const std::string& interface) {
  packet_mreq membership{};
  membership.mr_ifindex = index;
  membership.mr_type = PACKET_MR_PROMISC;
  if (::setsockopt(socket, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) !=
      0) {
    throw cannot_join(interface, errno, "");
  }
}

}  // namespace

std::unique_ptr<PacketPort> open_packet(Loop& loop, PortHost& host, const std::string& interface) {
  check_interface_name(interface);
  // Without a protocol it hears nothing yet: no frame arrives before all is set.
  Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) {
    throw cannot_join(interface, errno, errno == EPERM ? "run as root or with CAP_NET_RAW" : "");
  }
  examine(socket.get(), interface);
  const int index = static_cast<int>(::if_nametoindex(interface.c_str()));
  set_option(socket.get(), PACKET_VNET_HDR, 1, interface);
  set_option(socket.get(), PACKET_AUXDATA, 1, interface);
  set_option(socket.get(), PACKET_IGNORE_OUTGOING, 1, interface);
  raise_receive_buffer(socket.get());
  raise_send_buffer(socket.get());
  become_promiscuous(socket.get(), index, interface);

  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = index;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw cannot_join(interface, errno, "");
  }
  return std::make_unique<PacketPort>(loop, host, std::move(socket), interface);
}

}  // namespace netstack
