// Guest to switch: a burst of transmit chains is taken, each becomes a frame whose body is the
// guest's own buffers, the burst is delivered, and then the chains are given back. Nothing is
// copied but the first 30 bytes of each: the virtio-net header and the L2 head, read once. No
// system call is made; the guest's kick woke us, and while frames keep coming it is told not to
// kick.
//
// What a guest leaves undone it must have agreed to leave (its features), and where the checksum
// goes must lie in the frame; beyond that, whoever finishes the work reads the headers with care.
//
// Buffers go back in the order they came, always, so VIRTIO_F_IN_ORDER costs us nothing to offer. A
// driver that takes it looks nothing up: DPDK's bounces more frames through split rings with it.
//
// A frame in more than kBodyParts_max pieces is copied into one, since every port behind us would
// need room for the pieces. Linux makes at most 18.
#include "netstack/vhost_user/vhost_user_port.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "netstack/base/error.h"
#include "netstack/port/vnet_header.h"
#include "netstack/wire/arp.h"

namespace netstack {
namespace {

// Bits of virtio_net_config's feature list, virtio 1.2 §5.1.3.
constexpr uint64_t bit(unsigned number) {
  return uint64_t{1} << number;
}
constexpr uint64_t kNetChecksum = bit(0);       // VIRTIO_NET_F_CSUM
constexpr uint64_t kNetGuestChecksum = bit(1);  // VIRTIO_NET_F_GUEST_CSUM
constexpr uint64_t kNetMtu = bit(3);
constexpr uint64_t kNetGuestTcp4 = bit(7);
constexpr uint64_t kNetGuestTcp6 = bit(8);
constexpr uint64_t kNetGuestEcn = bit(9);
constexpr uint64_t kNetHostTcp4 = bit(11);
constexpr uint64_t kNetHostTcp6 = bit(12);
constexpr uint64_t kNetHostEcn = bit(13);
constexpr uint64_t kNetMergeable = bit(15);  // VIRTIO_NET_F_MRG_RXBUF
constexpr uint64_t kNetMq = bit(22);
constexpr uint64_t kAnyLayout = bit(27);  // VIRTIO_F_ANY_LAYOUT, for drivers before 1.0
constexpr uint64_t kNetGuestUdp4 = bit(54);
constexpr uint64_t kNetGuestUdp6 = bit(55);
constexpr uint64_t kNetHostUdp = bit(56);

constexpr uint32_t kHeader_size = 12;       // struct virtio_net_hdr with num_buffers, §5.1.6
constexpr uint32_t kShortHeader_size = 10;  // before virtio 1.0, without mergeable buffers

constexpr size_t kEthernetMin_size = 60;  // without FCS
constexpr uint16_t kEthertypeRarp = 0x8035;
constexpr uint16_t kRarpRequest = 3;  // RFC 903, whose messages are ARP's

constexpr size_t kStart_size = kHeader_size + kTaggedHeadBytes;

constexpr bool is_transmit(size_t ring) {
  return ring % 2 == 1;  // the guest's; §5.1.2
}

// The first `size` bytes of a chain, which are there.
void copy_start(std::span<const iovec> parts, uint8_t* out, size_t size) {
  for (const iovec& part : parts) {
    const size_t here = std::min(size, part.iov_len);
    copy_once(out, part.iov_base, here);
    out += here;
    size -= here;
    if (size == 0) return;
  }
}

inline std::span<iovec> skip(std::span<iovec> parts, size_t size) {
  while (!parts.empty() && parts[0].iov_len <= size) {
    size -= parts[0].iov_len;
    parts = parts.subspan(1);
  }
  if (!parts.empty()) {
    parts[0].iov_base = static_cast<uint8_t*>(parts[0].iov_base) + size;
    parts[0].iov_len -= size;
  }
  return parts;
}

}  // namespace

VhostUserOffer vhost_user_offer() {
  return {.features = kFeatureVersion1 | kFeatureIndirect | kFeatureEventIndex |
                      kFeatureRingPacked | kFeatureInOrder | kAnyLayout | kNetChecksum |
                      kNetGuestChecksum | kNetMtu | kNetGuestTcp4 | kNetGuestTcp6 | kNetGuestEcn |
                      kNetHostTcp4 | kNetHostTcp6 | kNetHostEcn | kNetMergeable | kNetMq |
                      kNetGuestUdp4 | kNetGuestUdp6 | kNetHostUdp,
          .protocol_features = kProtocolMq | kProtocolLogShmfd | kProtocolRarp | kProtocolReplyAck |
                               kProtocolNetMtu | kProtocolInFlightShmfd | kProtocolResetDevice |
                               kProtocolConfigureMemSlots | kProtocolStatus,
          .queue_pair_count = kQueuePairs_max};
}

// What one pull takes from a guest.
struct VhostUserPort::Ingress {
  void clear() {
    parts.clear();
    frame_count = 0;
    bounce_used = 0;
  }

  ChainParts parts;
  std::array<Chain, kBurstFrames> chains;
  std::array<Frame, kBurstFrames> frames;
  size_t frame_count = 0;
  std::unique_ptr<uint8_t[]> bounce;  // made when first needed
  size_t bounce_used = 0;
};

VhostUserPort::VhostUserPort(Loop& loop, PortHost& host, VhostUserPoller& poller, Fd connected,
                             std::string name)
    : Port(std::move(name), kFrameBytesMax),
      loop_(loop),
      host_(host),
      poller_(poller),
      session_(std::move(connected), vhost_user_offer(), *this),
      ingress_(std::make_unique<Ingress>()) {
  receive_chains_.reserve(kReceiveChains_max);
  loop_.watch(session_.fd(), EPOLLIN, [this](uint32_t) { on_socket(); });
  poller_.add(*this);
}

VhostUserPort::~VhostUserPort() {
  session_.stop_rings();
  loop_.forget(session_.fd());
  poller_.remove(*this);
}

// --- the front end -------------------------------------------------------------------------------

// Guests are told first of what they have got: their rings may be others afterwards.
void VhostUserPort::on_socket() {
  call_guest();
  try {
    if (!left_ && !session_.receive()) leave(session_.why());
  } catch (const Error& error) {  // the kernel watches no more descriptors
    leave(error.what());
  }
}

void VhostUserPort::on_features(uint64_t features) {
  const auto pick = [&](uint64_t feature, OffloadSet kind) {
    return (features & feature) == feature ? kind : OffloadSet{0};
  };
  header_size_ =
      (features & (kFeatureVersion1 | kNetMergeable)) != 0 ? kHeader_size : kShortHeader_size;
  mergeable_ = (features & kNetMergeable) != 0;
  leaves_ = pick(kNetChecksum, kOffloadChecksum);
  if (leaves_ != 0) {
    leaves_ = static_cast<OffloadSet>(
        leaves_ | pick(kNetHostTcp4, kOffloadTcp4) | pick(kNetHostTcp6, kOffloadTcp6) |
        pick(kNetHostEcn, kOffloadEcn) | pick(kNetHostUdp, kOffloadUdp));
  }
  OffloadSet takes = pick(kNetGuestChecksum, kOffloadChecksum);
  if (takes != 0) {
    takes = static_cast<OffloadSet>(
        takes | pick(kNetGuestTcp4, kOffloadTcp4) | pick(kNetGuestTcp6, kOffloadTcp6) |
        pick(kNetGuestEcn, kOffloadEcn) | pick(kNetGuestUdp4 | kNetGuestUdp6, kOffloadUdp));
  }
  take_offloads(takes, true);
}

void VhostUserPort::on_ring_start(size_t ring) {
  started_.insert(std::ranges::upper_bound(started_, ring), ring);
  const Fd& kick = session_.ring(ring).kick;
  if (kick)
    loop_.watch(kick.get(), EPOLLIN | EPOLLET, [this](uint32_t) {
      poller_.on_kick();
      wake();
    });
  wake();
}

void VhostUserPort::on_ring_stop(size_t ring) {
  std::erase(started_, ring);
  const Fd& kick = session_.ring(ring).kick;
  if (kick) loop_.forget(kick.get());
  if (receive_pair_count() == 0) abandon_waiting();
}

// What a bridge would see of a guest that asks for its own address: a broadcast, from the new port.
void VhostUserPort::on_arrival(const std::array<uint8_t, 6>& mac) {
  std::array<uint8_t, kEthernetMin_size> bytes{};
  kBroadcast.write(bytes.data());
  std::memcpy(&bytes[6], mac.data(), mac.size());
  write_u16(&bytes[12], kEthertypeRarp);
  write_arp({.operation = kRarpRequest, .sender_mac = mac, .target_mac = mac},
            &bytes[kEthernetHeadBytes]);
  FrameBatch<1> batch;
  batch.add(bytes.data(), bytes.size());
  deliver(batch.frames());
}

void VhostUserPort::leave(std::string_view why) {
  if (std::exchange(left_, true)) return;
  awake_ = false;
  session_.stop_rings();
  loop_.forget(session_.fd());
  abandon_waiting();
  host_.remove(*this, why);
}

// --- when ----------------------------------------------------------------------------------------

// Edge-triggered, a kick needs no read to be seen again: no system call, and none that could wait.
void VhostUserPort::wake() {
  poller_.schedule();
  if (std::exchange(awake_, true)) return;
  for (const size_t at : started_) {
    std::visit(
        [](auto& queue) {
          if constexpr (requires { queue.kicks_off(); }) queue.kicks_off();
        },
        session_.ring(at).queue);
  }
}

bool VhostUserPort::sleep() {
  bool work = false;
  for (const size_t at : started_) {
    if (!is_transmit(at) && waiting_.empty()) continue;
    if (!session_.ring(at).kick) work = true;  // this ring is to be polled
    std::visit(
        [&](auto& queue) {
          if constexpr (requires { queue.kicks_on(); }) work = queue.kicks_on() || work;
        },
        session_.ring(at).queue);
  }
  awake_ = work && !left_;
  return !awake_;
}

bool VhostUserPort::poll() {
  bool worked = !waiting_.empty() && drain();
  for (size_t at = 0; at < started_.size(); ++at) {  // which leave() empties
    if (is_transmit(started_[at]) && pull(started_[at])) worked = true;
  }
  return worked;
}

void VhostUserPort::call_guest() {
  if (session_.memory().lost()) leave("its front end took away memory that is in use");
  for (const size_t at : started_) {
    const VhostUserSession::Ring& ring = session_.ring(at);
    std::visit(
        [&](auto& queue) {
          if constexpr (requires { queue.wants_call(); }) {
            if (queue.wants_call()) ring.call_guest();
          }
        },
        session_.ring(at).queue);
  }
}

// --- in
// --------------------------------------------------------------------------------------------

bool VhostUserPort::pull(size_t at) {
  VhostUserSession::Ring& ring = session_.ring(at);
  return std::visit(
      [&](auto& queue) {
        if constexpr (requires { queue.kicks_on(); }) {
          return pull_from(queue, !ring.enabled);
        } else {
          return false;
        }
      },
      ring.queue);
}

// Header and L2 head: read once, into copies that nobody else writes.
inline bool VhostUserPort::read_head(const Chain& chain, Frame& frame) {
  std::array<uint8_t, kStart_size> start;
  size_t size = header_size_ + kTaggedHeadBytes;
  if (chain.parts[0].iov_len >= kStart_size) [[likely]] {
    copy_once(start.data(), chain.parts[0].iov_base, kStart_size);
  } else {
    size = std::min<size_t>(size, chain.bytes);
    copy_start(chain.parts, start.data(), size);
  }
  VnetHeaderWire header;
  std::memcpy(&header, start.data(), sizeof header);
  if (!copy_head(&start[header_size_], size - header_size_, frame)) {
    count_drop(DropReason::kRunt);
    return false;
  }
  frame.bytes = chain.bytes - header_size_;
  frame.body = skip(chain.parts, header_size_ + frame.head_bytes);
  frame.offload = {};
  if (header.flags == 0 && header.gso_type == 0) [[likely]]
    return true;
  const auto offload = read_vnet_header(header);
  if (!offload || (offload->work() & ~leaves_) != 0 || !offload_fits(*offload, frame.bytes) ||
      (offload->is_super_frame() && !offload->needs_checksum)) {
    count_drop(DropReason::kBadOffload);
    return false;
  }
  frame.offload = *offload;
  return true;
}

inline void VhostUserPort::take(const Chain& chain) {
  Ingress& in = *ingress_;
  if (chain.bytes < header_size_ + kEthernetHeadBytes) return count_drop(DropReason::kRunt);
  if (chain.bytes > header_size_ + kFrameBytesMax) return count_drop(DropReason::kTooLong);
  if (in.bounce_used + kFrameBytesMax > kBounce_size) deliver_taken();
  Frame& frame = in.frames[in.frame_count];
  if (!read_head(chain, frame)) return;
  if (frame.body.size() > kBodyParts_max) join_parts(frame);
  ++in.frame_count;
}

template <class Queue>
bool VhostUserPort::pull_from(Queue& queue, bool discard) {
  Ingress& in = *ingress_;
  in.clear();
  size_t count = 0;
  Pop popped = Pop::kEmpty;
  while (count < kBurstFrames && in.parts.has_room_for_any()) {
    Chain& chain = in.chains[count];
    popped = queue.pop(chain, in.parts);
    if (popped != Pop::kChain) break;
    if (!chain.parts.empty()) {  // header and L2 head, which may lie in two cache lines
      const auto* start = static_cast<const uint8_t*>(chain.parts[0].iov_base);
      prefetch_to_read(start);
      prefetch_to_read(start + kStart_size);
    }
    ++count;
  }
  for (size_t i = 0; i < count && !discard; ++i) take(in.chains[i]);
  deliver_taken();
  for (size_t i = 0; i < count; ++i) queue.push(in.chains[i], 0);
  queue.publish();
  if (popped == Pop::kBroken) {
    leave("its guest's transmit ring contradicts the virtio specification");
  }
  return count > 0;
}

void VhostUserPort::deliver_taken() {
  Ingress& in = *ingress_;
  deliver({in.frames.data(), in.frame_count});
  in.frame_count = 0;
  in.bounce_used = 0;
}

void VhostUserPort::join_parts(Frame& frame) {
  Ingress& in = *ingress_;
  if (!in.bounce) in.bounce = std::make_unique_for_overwrite<uint8_t[]>(kBounce_size);
  uint8_t* start = &in.bounce[in.bounce_used];
  uint8_t* at = start;
  for (const iovec& part : frame.body) {
    std::memcpy(at, part.iov_base, part.iov_len);
    at += part.iov_len;
  }
  in.bounce_used += static_cast<size_t>(at - start);
  iovec& whole = const_cast<iovec&>(frame.body[0]);
  whole = {start, static_cast<size_t>(at - start)};
  frame.body = frame.body.first(1);
}

}  // namespace netstack
