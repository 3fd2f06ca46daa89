// libslirp pays per segment: a header, a checksum, two copies, a call back. How large it makes them
// follows from the MTU it is told and, on connections from the host, from the segment size in the
// guest's SYN. So it is told an MTU that guests do not have, and what it then writes leaves the
// gateway as super-frames: whole towards guests that take those, cut once, on egress, towards the
// others (segment.cc).
//
//   guest ── SYN, MSS 1460 ──► SYN, MSS 16060 ──► libslirp
//   guest ◄── 11 × 1460, or one super-frame ◄──── 16060 bytes
//
// Nothing is remembered of a flow. A guest that answers a connection with a segment size below the
// MTU's is left alone, and libslirp keeps to it; whatever comes out larger than the MTU is cut to
// the MTU. (On connections of the guest's own libslirp 4.7 never looks at the size it asked for:
// they get the MTU's, as they would without this.) Two things that the larger MTU changes are put
// right here: segments are offered to guests that their path may not carry (lower_mss), and UDP is
// no longer fragmented (wants_fragments).
//
// 16060 is 11 segments of 1460, so none of them is cut short, and four of it fill libslirp's 64 KiB
// window. It is also what every buffer of libslirp's is made for, however little it then holds,
// which is why it is not more.
//
// Refused: joining the small segments afterwards (coalesce.cc). It saves the guest, not libslirp.
#include "netstack/nat/large_segments.h"

#include <algorithm>

#include "netstack/base/bytes.h"
#include "netstack/base/checksum.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/tcp_rewrite.h"

namespace netstack {

namespace {

constexpr size_t kTcpFlagsAt = 13;
constexpr size_t kTcpChecksumAt = 16;

// An engine's frame: where its TCP header begins. 0: no TCP, or not one this engine makes.
size_t tcp_at(std::span<const uint8_t> frame) {
  if (frame.size() < kEthernetHeadBytes + kIpv4HeadBytes + kTcpHeadBytes) return 0;
  const uint8_t* ip = &frame[kEthernetHeadBytes];
  switch (read_u16(&frame[12])) {
    case kEthertypeIpv4:
      return ip[0] == 0x45 && ip[9] == kProtocolTcp ? kEthernetHeadBytes + kIpv4HeadBytes : 0;
    case kEthertypeIpv6:
      return ip[6] == kProtocolTcp &&
                     frame.size() >= kEthernetHeadBytes + kIpv6HeadBytes + kTcpHeadBytes
                 ? kEthernetHeadBytes + kIpv6HeadBytes
                 : 0;
    default:
      return 0;
  }
}

}  // namespace

uint16_t LargeSegments::mss(bool v6) const {
  return static_cast<uint16_t>(mtu_bytes_ - (v6 ? kIpv6HeadBytes : kIpv4HeadBytes) - kTcpHeadBytes);
}

// As many whole segments as fit.
uint16_t LargeSegments::raised_mss(bool v6) const {
  return static_cast<uint16_t>(mss(v6) * std::max(1, kSegment_bytes_max / mss(v6)));
}

void LargeSegments::raise_mss(std::span<uint8_t> segment, bool v6) const {
  const auto asked = read_mss(segment);
  if (asked && *asked >= mss(v6)) rewrite_mss(segment, raised_mss(v6));
}

Offload LargeSegments::put_right(std::span<uint8_t> frame) const {
  const size_t tcp = tcp_at(frame);
  if (tcp == 0) return {};
  const bool v6 = tcp == kEthernetHeadBytes + kIpv6HeadBytes;
  if ((frame[tcp + kTcpFlagsAt] & kTcpSyn) != 0) lower_mss(frame.subspan(tcp), v6);
  if (frame.size() <= kEthernetHeadBytes + mtu_bytes_) return {};
  return make_super_frame(frame, tcp, v6);
}

void LargeSegments::lower_mss(std::span<uint8_t> segment, bool v6) const {
  const auto offered = read_mss(segment);
  if (offered && *offered > mss(v6)) rewrite_mss(segment, mss(v6));
}

Offload LargeSegments::make_super_frame(std::span<uint8_t> frame, size_t tcp, bool v6) const {
  const size_t addresses = kEthernetHeadBytes + (v6 ? 8 : 12);
  Checksum pseudo;  // RFC 9293 §3.1, RFC 8200 §8.1
  pseudo.add(frame.subspan(addresses, v6 ? 32 : 8));
  pseudo.add_u32(kProtocolTcp);
  pseudo.add_u32(static_cast<uint32_t>(frame.size() - tcp));
  write_u16(&frame[tcp + kTcpChecksumAt], static_cast<uint16_t>(~pseudo.finish()));
  return {.needs_checksum = true,
          .checksum_start = static_cast<uint16_t>(tcp),
          .checksum_offset = kTcpChecksumAt,
          .ecn = false,
          .gso = {.kind = v6 ? Gso::Kind::kTcp6 : Gso::Kind::kTcp4, .payload_bytes = mss(v6)}};
}

bool LargeSegments::wants_fragments(std::span<const uint8_t> frame) const {
  return frame.size() > kEthernetHeadBytes + mtu_bytes_ && read_u16(&frame[12]) == kEthertypeIpv4 &&
         tcp_at(frame) == 0;
}

}  // namespace netstack
