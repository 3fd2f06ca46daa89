#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "netstack/base/bytes.h"
#include "netstack/frame/mac.h"

namespace netstack {

constexpr uint16_t kEthertypeIpv4 = 0x0800;
constexpr uint16_t kEthertypeArp = 0x0806;
constexpr uint16_t kEthertypeVlan = 0x8100;         // IEEE 802.1Q C-TAG
constexpr uint16_t kEthertypeServiceVlan = 0x88a8;  // IEEE 802.1Q S-TAG
constexpr uint16_t kEthertypeIpv6 = 0x86dd;

constexpr uint32_t kEthernetHeadBytes = 14;
constexpr uint32_t kTagBytes = 4;
constexpr uint32_t kTaggedHeadBytes = kEthernetHeadBytes + kTagBytes;
constexpr uint32_t kFrameBytesMax = 65'535 + kTaggedHeadBytes;  // what any buffer of ours must hold

// How a super-frame is to be cut: the sender's order, as virtio 1.2 §5.1.6 gives it.
struct Gso {
  enum class Kind : uint8_t { kNone, kTcp4, kTcp6, kUdp };
  Kind kind = Kind::kNone;
  uint16_t payload_bytes = 0;  // of TCP or UDP payload in each segment but the last
};

// Kinds of work that one end of a wire may leave to the other, as a set.
using OffloadSet = uint8_t;
constexpr OffloadSet kOffloadChecksum = 1U;
constexpr OffloadSet kOffloadTcp4 = 1U << static_cast<unsigned>(Gso::Kind::kTcp4);
constexpr OffloadSet kOffloadTcp6 = 1U << static_cast<unsigned>(Gso::Kind::kTcp6);
constexpr OffloadSet kOffloadUdp = 1U << static_cast<unsigned>(Gso::Kind::kUdp);
constexpr OffloadSet kOffloadEcn = 1U << 4U;  // besides kOffloadTcp…: CWR may be set
constexpr OffloadSet kOffloadEverything = 0x1f;

// Work a sender left undone, as virtio 1.2 §5.1.6 describes it. All zero: nothing to do.
struct Offload {
  bool needs_checksum = false;   // VIRTIO_NET_HDR_F_NEEDS_CSUM
  uint16_t checksum_start = 0;   // where summing begins, from the start of the frame
  uint16_t checksum_offset = 0;  // where the sum goes, from checksum_start
  bool ecn = false;              // VIRTIO_NET_HDR_GSO_ECN: a super-frame with CWR set
  Gso gso = {};                  // of a super-frame

  bool is_super_frame() const { return gso.kind != Gso::Kind::kNone; }
  OffloadSet work() const {
    const auto kind = static_cast<unsigned>(gso.kind);
    return static_cast<OffloadSet>((needs_checksum ? kOffloadChecksum : 0U) | ((1U << kind) & ~1U) |
                                   (ecn ? kOffloadEcn : 0U));
  }
};

// A frame on its way through the switch: borrowed, never owned. `body` points into the ingress
// port's memory and is valid until Sink::receive returns; to keep a frame, copy it out.
//
//   head (private copy)                     body (where the sender left it)
//   ┌─────┬─────┬───────────┬───────────┐   ┌──────────────┬─────┬──────────────┐
//   │ dst │ src │ [802.1Q]  │ ethertype │   │ iovec        │ ... │ iovec        │
//   └─────┴─────┴───────────┴───────────┘   └──────────────┴─────┴──────────────┘
//   0     6     12                 14 or 18
//
// The head is copied so that a sender that rewrites its buffer while we look cannot make the switch
// decide on one address and send another.
struct alignas(64) Frame {
  std::array<uint8_t, kTaggedHeadBytes> head{};  // head_bytes of it; what is behind means nothing
  uint8_t head_bytes = 0;                        // 14, or 18 with a tag
  uint32_t bytes = 0;                            // the whole frame, head included, without FCS
  Offload offload;
  std::span<const iovec> body;

  Mac destination() const { return Mac::read(head.data()); }
  Mac source() const { return Mac::read(head.data() + 6); }
  bool tagged() const { return head_bytes == kTaggedHeadBytes; }
  // The outer tag's VLAN identifier, 0 when untagged or priority-tagged. IEEE 802.1Q-2018 §9.6.
  uint16_t vid() const {
    return tagged() ? static_cast<uint16_t>(read_u16(&head[14]) & 0x0fffU) : uint16_t{0};
  }
  uint16_t ethertype() const { return read_u16(&head[head_bytes - 2U]); }
};
static_assert(sizeof(Frame) == 64, "one frame, one cache line");

// Copies the head of a frame of `size` bytes at `data` into `frame`, whose `offload` and `body` are
// to be set. False: shorter than its own header (14 bytes, 18 with a tag).
inline bool copy_head(const uint8_t* data, size_t size, Frame& frame) {
  if (size >= kTaggedHeadBytes) [[likely]] {
    std::memcpy(frame.head.data(), data, kTaggedHeadBytes);  // one size: two moves
  } else if (size >= kEthernetHeadBytes) {
    std::memcpy(frame.head.data(), data, kEthernetHeadBytes);
  } else {
    return false;
  }
  const uint16_t type = read_u16(&frame.head[12]);
  const bool tagged = type == kEthertypeVlan || type == kEthertypeServiceVlan;
  frame.head_bytes = static_cast<uint8_t>(tagged ? kTaggedHeadBytes : kEthernetHeadBytes);
  frame.bytes = static_cast<uint32_t>(size);
  return size >= frame.head_bytes;
}

// Makes a view of the `size` bytes at `data`. `body` is storage for the frame's one iovec and must
// live as long as the frame. False: a runt, as in copy_head().
bool view_frame(const uint8_t* data, size_t size, Frame& frame, iovec& body);

// Copies the frame to `out`, or its first `bytes_max`, and returns how many those are.
uint32_t copy_frame(const Frame& frame, uint8_t* out, uint32_t bytes_max = UINT32_MAX);

// A burst of frames made from contiguous buffers, with the storage their bodies need.
template <size_t kCapacity>
class FrameBatch {
 public:
  bool full() const { return count_ == kCapacity; }
  bool empty() const { return count_ == 0; }
  // False: a runt, nothing was added.
  bool add(const uint8_t* data, size_t size) {
    if (!view_frame(data, size, frames_[count_], bodies_[count_])) return false;
    ++count_;
    return true;
  }
  std::span<Frame> frames() { return {frames_.data(), count_}; }
  void clear() { count_ = 0; }

 private:
  std::array<Frame, kCapacity> frames_;
  std::array<iovec, kCapacity> bodies_;
  size_t count_ = 0;
};

constexpr size_t kBurstFrames = 64;  // the most frames any port hands over in one call

}  // namespace netstack
