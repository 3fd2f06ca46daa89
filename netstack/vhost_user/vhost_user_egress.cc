// Switch to guest: the one copy. Each frame is written behind a virtio-net header into the next
// buffers of a receive ring, straight from where it lies: another guest's memory, a socket's
// buffer.
//
//   mergeable buffers       as many chains as the frame needs; the header says how many (§5.1.6.4)
//   without                 one chain, into which the frame must fit, else it is dropped
//
// A frame is written whole or not at all: its chains are taken first and given back when they do
// not suffice. Then it waits, with all behind it, in an EgressQueue, each frame behind the header
// it will have, until the guest refills the ring. TCP over a guest that is busy for a moment would
// otherwise lose a window; a guest that stands still costs kEgressQueueLimit_size and no more.
//
// With several queue pairs, a flow keeps to one receive ring. Waiting frames keep one order for all
// rings: simple, and a guest with one ring full is about to have them all full.
#include <algorithm>
#include <utility>

#include "netstack/port/vnet_header.h"
#include "netstack/vhost_user/flow_hash.h"
#include "netstack/vhost_user/vhost_user_port.h"

namespace netstack {
namespace {

constexpr size_t kRingsPerPair_count = 2;
constexpr size_t kWaitingHeader_size = sizeof(VnetHeaderWire);
constexpr size_t kCacheLine_size = 64;

// Writes bytes one behind the other into pieces of memory.
class Scatter {
 public:
  explicit Scatter(std::span<const iovec> parts) : parts_(parts) {}

  void write(const void* bytes, size_t size) {
    const auto* from = static_cast<const uint8_t*>(bytes);
    while (size > 0) {
      const iovec& part = parts_[part_];
      const size_t here = std::min(size, part.iov_len - offset_);
      std::memcpy(static_cast<uint8_t*>(part.iov_base) + offset_, from, here);
      from += here;
      size -= here;
      offset_ += here;
      if (offset_ == part.iov_len) {
        ++part_;
        offset_ = 0;
      }
    }
  }

 private:
  std::span<const iovec> parts_;
  size_t part_ = 0;
  size_t offset_ = 0;
};

// struct virtio_net_hdr_v1, §5.1.6.
struct NetHeader {
  VnetHeaderWire wire;
  uint16_t buffer_count;
};
static_assert(sizeof(NetHeader) == 12);

}  // namespace

// Pairs whose receive ring may be used; the guest enables them from the first on.
size_t VhostUserPort::receive_pair_count() const {
  size_t count = 0;
  for (const size_t at : started_) {
    if (at != kRingsPerPair_count * count) continue;
    if (!const_cast<VhostUserSession&>(session_).ring(at).enabled) break;
    ++count;
  }
  return count;
}

size_t VhostUserPort::transmit(std::span<const Frame> burst) noexcept {
  drop_reason_ = left_ ? DropReason::kPeerGone : DropReason::kNotReady;
  if (left_ || receive_pair_count() == 0) return 0;
  poller_.schedule();  // to call the guest
  const size_t put = waiting_.empty() ? put_burst(burst) : 0;
  drop_reason_ = left_ ? DropReason::kPeerGone : DropReason::kQueueFull;
  if (put == burst.size() || left_) return put;
  return put + wait(burst.subspan(put));
}

template <class Queue>
size_t VhostUserPort::put_run(Queue& queue, std::span<const Frame> run) {
  size_t put = 0;
  while (put < run.size()) {
    put += put_singles(queue, run.subspan(put, std::min(run.size() - put, kBurstFrames)));
    if (put == run.size() || !put_one(queue, run[put])) break;
    ++put;
  }
  if (left_) return put;  // and the ring is gone
  queue.publish();
  return put;
}

// The usual case: each frame fits into the one piece of memory of the next chain. All chains are
// taken before the first is written, so that their cache lines, which the guest had last, come in
// together. Returns how many frames from the front are in the guest: up to the first unusual one.
template <class Queue>
size_t VhostUserPort::put_singles(Queue& queue, std::span<const Frame> run) {
  receive_parts_.clear();
  size_t count = 0;
  for (; count < run.size(); ++count) {
    const auto place = queue.place();
    Chain& chain = singles_[count];
    if (queue.pop(chain, receive_parts_) != Pop::kChain) break;
    if (chain.parts.size() != 1 || chain.bytes < header_size_ + run[count].bytes) {
      queue.back_to(place);
      break;
    }
    auto* start = static_cast<uint8_t*>(chain.parts[0].iov_base);
    prefetch_to_write(start);
    prefetch_to_write(start + kCacheLine_size);
  }
  for (size_t at = 0; at < count; ++at) {
    write_whole(run[at], static_cast<uint8_t*>(singles_[at].parts[0].iov_base));
    queue.push(singles_[at], header_size_ + run[at].bytes);
  }
  return count;
}

// To one piece of memory that has room.
inline void VhostUserPort::write_whole(const Frame& frame, uint8_t* at) const {
  NetHeader header{};
  if (frame.offload.work() != 0) header.wire = write_vnet_header(frame.offload);
  header.buffer_count = 1;
  // Sizes that the compiler knows make moves of what would be calls.
  std::memcpy(at, &header, kWaitingHeader_size);
  if (header_size_ == sizeof header) std::memcpy(at, &header, sizeof header);
  at += header_size_;
  std::memcpy(at, frame.head.data(), kEthernetHeadBytes);
  if (frame.tagged()) std::memcpy(at, frame.head.data(), kTaggedHeadBytes);
  at += frame.head_bytes;
  for (const iovec& part : frame.body) {
    if (part.iov_len == 0) continue;
    std::memcpy(at, part.iov_base, part.iov_len);
    at += part.iov_len;
  }
}

// False: the ring has too few buffers, or the port has left.
template <class Queue>
bool VhostUserPort::put_one(Queue& queue, const Frame& frame) {
  const auto place = queue.place();
  const size_t need = header_size_ + frame.bytes;
  receive_parts_.clear();
  receive_chains_.clear();
  const bool enough = take_buffers(queue, need);
  if (left_) return false;
  size_t have = 0;
  for (const Chain& chain : receive_chains_) have += chain.bytes;
  if (have < need) {
    queue.back_to(place);
    if (!enough) return false;
    lose_taken(frame, DropReason::kTooLong);
    return true;
  }
  copy_out(frame);
  size_t left = need;
  for (const Chain& chain : receive_chains_) {
    const size_t written = std::min<size_t>(left, chain.bytes);
    queue.push(chain, static_cast<uint32_t>(written), left != need);
    left -= written;
  }
  return true;
}

// Takes chains for `size` bytes. False: the ring is empty before that, and more may help. True:
// there they are, or no number of them will do.
template <class Queue>
bool VhostUserPort::take_buffers(Queue& queue, size_t size) {
  size_t have = 0;
  do {
    if (receive_chains_.size() == kReceiveChains_max || !receive_parts_.has_room_for_any()) {
      return true;
    }
    Chain chain;
    switch (queue.pop(chain, receive_parts_)) {
      case Pop::kEmpty:
        return false;
      case Pop::kBroken:
        leave("its guest's receive ring contradicts the virtio specification");
        return false;
      case Pop::kChain:
        break;
    }
    have += chain.bytes;
    receive_chains_.push_back(chain);
  } while (have < size && mergeable_);
  return true;
}

void VhostUserPort::copy_out(const Frame& frame) {
  NetHeader header{};
  if (frame.offload.work() != 0) header.wire = write_vnet_header(frame.offload);
  header.buffer_count = static_cast<uint16_t>(receive_chains_.size());
  Scatter out(receive_parts_.since(0));
  out.write(&header, header_size_);
  out.write(frame.head.data(), frame.head_bytes);
  for (const iovec& part : frame.body) out.write(part.iov_base, part.iov_len);
}

// Counted as egress by whoever sent it, or already was: put that right.
void VhostUserPort::lose_taken(const Frame& frame, DropReason reason) {
  --count().egress_frames;
  count().egress_bytes -= frame.bytes;
  count().drop(reason);
}

// --- frames that wait ----------------------------------------------------------------------------

size_t VhostUserPort::wait(std::span<const Frame> burst) {
  const bool first = waiting_.empty();
  size_t taken = 0;
  for (const Frame& frame : burst) {
    const VnetHeaderWire header = write_vnet_header(frame.offload);
    Frame record;
    std::memcpy(record.head.data(), &header, kWaitingHeader_size);
    record.head_bytes = kWaitingHeader_size;
    record.bytes = kWaitingHeader_size + frame.bytes;
    wait_parts_.assign(1, {const_cast<uint8_t*>(frame.head.data()), frame.head_bytes});
    wait_parts_.insert(wait_parts_.end(), frame.body.begin(), frame.body.end());
    record.body = wait_parts_;
    if (waiting_.push({&record, 1}) == 0) break;
    ++taken;
  }
  if (first) wake();  // before it sleeps again it asks for a kick when there are buffers
  return taken;
}

// The queue counts whole records; the headers in front were never egress.
void VhostUserPort::abandon_waiting() {
  count().egress_bytes += kWaitingHeader_size * waiting_.frame_count();
  waiting_.abandon(count());
}

// True: at least one frame went to the guest.
bool VhostUserPort::drain() {
  std::array<iovec, kBurstFrames> records;
  FrameBatch<kBurstFrames> batch;
  const size_t count = waiting_.peek_frames(records);
  for (const iovec& record : std::span(records).first(count)) {
    const auto* bytes = static_cast<const uint8_t*>(record.iov_base);
    batch.add(bytes + kWaitingHeader_size, record.iov_len - kWaitingHeader_size);
    VnetHeaderWire header;
    std::memcpy(&header, bytes, sizeof header);
    batch.frames().back().offload = read_vnet_header(header).value_or(Offload{});
  }
  const size_t put = put_burst(batch.frames());
  if (!left_) waiting_.pop_frames(put);
  return put != 0;
}

// How many from the front are in the guest, or lost and counted.
size_t VhostUserPort::put_burst(std::span<const Frame> burst) {
  const size_t pair_count = receive_pair_count();
  const auto ring_of = [&](const Frame& frame) {
    return pair_count == 1 ? 0 : kRingsPerPair_count * (flow_hash(frame) % pair_count);
  };
  size_t put = 0;
  while (put < burst.size() && pair_count != 0) {
    const size_t ring = ring_of(burst[put]);
    size_t end = pair_count == 1 ? burst.size() : put + 1;
    while (end < burst.size() && ring_of(burst[end]) == ring) ++end;
    const auto run = burst.subspan(put, end - put);
    const size_t done = std::visit(
        [&](auto& queue) -> size_t {
          if constexpr (requires { queue.kicks_on(); }) {
            return put_run(queue, run);
          } else {
            return 0;
          }
        },
        session_.ring(ring).queue);
    put += done;
    if (done < run.size()) break;
  }
  return put;
}

}  // namespace netstack
