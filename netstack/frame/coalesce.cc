// Software GRO: the mirror image of segment.cc.
//
// A guest pays for every frame it receives: an interrupt, a walk through its stack, an answer. TCP
// segments of one flow that come one behind the other (the NAT engine writes 64 KiB as 45 of them,
// a VDE plug reads as many in one call) are joined and given to it as one, which costs it as much
// as one segment does.
//
// Joined are segments of one burst that follow each other directly, with the same addresses, ports,
// acknowledgement, window, options, type of service and hop limit, sequence numbers that continue,
// IPv4 identifiers that count (or stand still, where DF makes them meaningless), and no flag but
// ACK. The last one may be shorter and may have PSH; it ends the run. Nothing is
// held back for a later burst: waiting would trade latency for size, and the senders that matter
// write in bursts anyway.
//
// Joining hides a wrong checksum behind one that the receiver never sums (it gets a partial one),
// so each segment's is verified first. That pass over the payload costs 0.03 ns per byte; it is
// saved for segments whose own checksum is still partial, since nobody has summed those at all.
//
// Refused: joining across other frames in between (two flows that alternate). That needs a table of
// flows; Linux has one because it sees a card's whole traffic, while a burst here is one port's.
#include "netstack/frame/coalesce.h"

#include <algorithm>
#include <cstring>

#include "netstack/base/bytes.h"
#include "netstack/base/checksum.h"

namespace netstack {
namespace {

constexpr uint32_t kIpv4Head_size = 20;
constexpr uint32_t kIpv6Head_size = 40;
constexpr uint32_t kTcpHead_size = 20;
constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kAck = 0x10;
constexpr uint8_t kPsh = 0x08;
constexpr uint16_t kFragmentBits = 0x3fff;    // more fragments, offset
constexpr uint16_t kUnfragmentable = 0x4000;  // DF

size_t copy_start(const Frame& frame, std::span<uint8_t> out) {
  size_t have = 0;
  for (const iovec& part : frame.body) {
    const size_t size = std::min<size_t>(part.iov_len, out.size() - have);
    if (size == 0) continue;
    std::memcpy(&out[have], part.iov_base, size);
    have += size;
    if (have == out.size()) break;
  }
  return have;
}

// Could these two be joined? Told from lengths and heads alone.
bool look_alike(const Frame& a, const Frame& b) {
  return a.bytes >= kCoalesceFrame_bytes && b.bytes >= kCoalesceFrame_bytes && b.bytes <= a.bytes &&
         !a.offload.is_super_frame() && !b.offload.is_super_frame() &&
         a.head_bytes == b.head_bytes &&
         std::memcmp(a.head.data(), b.head.data(), a.head_bytes) == 0;
}

// The protocol byte, where IPv4 or IPv6 has it. The frame may be anything.
bool looks_like_tcp(const Frame& frame) {
  const uint16_t type = frame.ethertype();
  if (type != kEthertypeIpv4 && type != kEthertypeIpv6) return false;
  const size_t at = type == kEthertypeIpv4 ? 9 : 6;
  if (frame.body.empty() || frame.body[0].iov_len <= at) return !frame.body.empty();
  return static_cast<const uint8_t*>(frame.body[0].iov_base)[at] == kProtocolTcp;
}

}  // namespace

Coalescer::Coalescer() = default;

bool Coalescer::concerns(std::span<const Frame> burst, OffloadSet takes) {
  if ((takes & kOffloadChecksum) == 0) return false;
  for (size_t at = 0; at + 1 < burst.size(); ++at) {
    if (look_alike(burst[at], burst[at + 1])) return looks_like_tcp(burst[at]);
  }
  return false;
}

std::span<const Frame> Coalescer::join(std::span<const Frame> burst, OffloadSet takes) {
  count_ = 0;
  part_count_ = 0;
  Segment first;
  for (size_t at = 0; at < burst.size();) {
    const size_t length = run_length(burst.subspan(at), takes, first);
    if (length < kCoalesceFrames_min) {
      frames_[count_++] = burst[at++];
      continue;
    }
    join_run(burst.subspan(at, length), first);
    at += length;
  }
  return {frames_.data(), count_};
}

// How many frames from the front make one super-frame; 0 or 1: none.
size_t Coalescer::run_length(std::span<const Frame> burst, OffloadSet takes, Segment& first) {
  if (burst.size() < kCoalesceFrames_min || !look_alike(burst[0], burst[1])) return 0;
  if (!read(burst[0], takes, first)) return 0;
  size_t part_count = part_count_ + 1 + burst[0].body.size();
  run_payload_size_ = first.payload_size;
  run_pushes_ = (first.headers[first.ip_size + 13] & kPsh) != 0;
  size_t length = 1;
  Segment next;
  while (length < burst.size() && !run_pushes_) {
    const Frame& frame = burst[length];
    part_count += frame.body.size();
    if (part_count > parts_.size() || !look_alike(burst[0], frame)) break;
    if (!read(frame, takes, next)) break;
    const uint32_t packet_size = first.header_size + run_payload_size_ + next.payload_size;
    if (packet_size > kCoalescePacket_bytes_max) break;
    if (!follows(first, next, static_cast<uint32_t>(length), run_payload_size_)) break;
    run_payload_size_ += next.payload_size;
    run_pushes_ = (next.headers[next.ip_size + 13] & kPsh) != 0;
    ++length;
    if (next.payload_size < first.payload_size) break;
  }
  return length;
}

// Reads a frame that could be part of a run: a TCP segment of our kind with a sound checksum.
bool Coalescer::read(const Frame& frame, OffloadSet takes, Segment& segment) {
  const size_t have = copy_start(frame, segment.headers);
  const uint8_t* ip = segment.headers.data();
  const uint16_t type = frame.ethertype();
  segment.v6 = type == kEthertypeIpv6;
  uint32_t packet_size = 0;
  if (type == kEthertypeIpv4 && (takes & kOffloadTcp4) != 0 && have >= kIpv4Head_size) {
    if (ip[0] != 0x45 || ip[9] != kProtocolTcp || (read_u16(ip + 6) & kFragmentBits) != 0)
      return false;
    segment.ip_size = kIpv4Head_size;
    packet_size = read_u16(ip + 2);
    if (internet_checksum({ip, kIpv4Head_size}) != 0) return false;
  } else if (segment.v6 && (takes & kOffloadTcp6) != 0 && have >= kIpv6Head_size) {
    if (ip[0] >> 4U != 6 || ip[6] != kProtocolTcp) return false;
    segment.ip_size = kIpv6Head_size;
    packet_size = kIpv6Head_size + read_u16(ip + 4);
  } else {
    return false;
  }
  if (have < segment.ip_size + kTcpHead_size) return false;
  const uint8_t* tcp = ip + segment.ip_size;
  const uint32_t tcp_size = (tcp[12] >> 4U) * 4U;
  segment.header_size = segment.ip_size + tcp_size;
  if (tcp_size < kTcpHead_size || have < segment.header_size) return false;
  if ((tcp[13] & ~kPsh) != kAck || (tcp[12] & 0x0fU) != 0) return false;
  if (packet_size <= segment.header_size || packet_size > frame.bytes - frame.head_bytes) {
    return false;
  }
  segment.payload_size = packet_size - segment.header_size;
  segment.sequence = read_u32(tcp + 4);
  segment.sum_is_partial = frame.offload.needs_checksum;
  if (segment.sum_is_partial) {
    return frame.offload.checksum_start == frame.head_bytes + segment.ip_size &&
           frame.offload.checksum_offset == 16;
  }
  return sum_is_right(frame, segment);
}

bool Coalescer::sum_is_right(const Frame& frame, const Segment& segment) {
  const uint8_t* ip = segment.headers.data();
  const uint32_t size = segment.header_size - segment.ip_size + segment.payload_size;
  Checksum sum;
  sum.add({ip + (segment.v6 ? 8 : 12), segment.v6 ? 32U : 8U});
  sum.add_u32(kProtocolTcp);
  sum.add_u32(size);
  uint32_t skip = segment.ip_size;
  uint32_t left = size;
  bool odd = false;
  for (const iovec& part : frame.body) {
    if (skip >= part.iov_len) {
      skip -= static_cast<uint32_t>(part.iov_len);
      continue;
    }
    const auto here = static_cast<uint32_t>(std::min<size_t>(left, part.iov_len - skip));
    sum.add_shifted({static_cast<const uint8_t*>(part.iov_base) + skip, here}, odd);
    odd = odd != ((here & 1U) != 0);
    left -= here;
    skip = 0;
    if (left == 0) break;
  }
  return sum.finish() == 0;
}

// `joined` segments, with `joined_payload_size` in all, begin with `first`.
bool Coalescer::follows(const Segment& first, const Segment& next, uint32_t joined,
                        uint32_t joined_payload_size) {
  if (next.header_size != first.header_size || next.ip_size != first.ip_size) return false;
  if (next.payload_size > first.payload_size) return false;
  if (next.sum_is_partial != first.sum_is_partial) return false;
  if (next.sequence != first.sequence + joined_payload_size) return false;
  const uint8_t* a = first.headers.data();
  const uint8_t* b = next.headers.data();
  const auto same = [&](size_t at, size_t size) { return std::memcmp(a + at, b + at, size) == 0; };
  // IP: everything but length, identifier and header checksum.
  if (first.v6) {
    if (!same(0, 4) || !same(6, 34)) return false;
  } else {
    const auto step = static_cast<uint16_t>(read_u16(b + 4) - read_u16(a + 4));
    const bool counts = step == static_cast<uint16_t>(joined);
    if (!counts && (step != 0 || (read_u16(a + 6) & kUnfragmentable) == 0)) return false;
    if (!same(0, 2) || !same(6, 4) || !same(12, 8)) return false;
  }
  // TCP: ports, acknowledgement, flags but PSH (read() saw to that), window, urgent, options.
  const size_t tcp = first.ip_size;
  return same(tcp, 4) && same(tcp + 8, 4) && same(tcp + 14, 2) &&
         same(tcp + 18, first.header_size - tcp - 18);
}

void Coalescer::join_run(std::span<const Frame> run, const Segment& first) {
  const size_t slot = count_++;
  const size_t first_part = part_count_;
  uint8_t* headers = headers_[slot].data();
  std::memcpy(headers, first.headers.data(), first.header_size);
  parts_[part_count_++] = {headers, first.header_size};
  uint32_t left = run_payload_size_;
  for (const Frame& frame : run) {
    const uint32_t size = std::min(left, first.payload_size);
    add_payload(frame, first.header_size, size);
    left -= size;
  }

  const uint32_t packet_size = first.header_size + run_payload_size_;
  uint8_t* tcp = headers + first.ip_size;
  if (run_pushes_) tcp[13] |= kPsh;
  Checksum pseudo;
  pseudo.add({headers + (first.v6 ? 8 : 12), first.v6 ? 32U : 8U});
  pseudo.add_u32(kProtocolTcp);
  pseudo.add_u32(packet_size - first.ip_size);
  write_u16(tcp + 16, static_cast<uint16_t>(~pseudo.finish()));
  if (first.v6) {
    write_u16(headers + 4, packet_size - kIpv6Head_size);
  } else {
    write_u16(headers + 2, packet_size);
    write_u16(headers + 10, 0);
    write_u16(headers + 10, internet_checksum({headers, kIpv4Head_size}));
  }

  Frame& frame = frames_[slot];
  frame = run[0];
  frame.bytes = frame.head_bytes + packet_size;
  frame.body = std::span(parts_).subspan(first_part, part_count_ - first_part);
  frame.offload = {.needs_checksum = true,
                   .checksum_start = static_cast<uint16_t>(frame.head_bytes + first.ip_size),
                   .checksum_offset = 16,
                   .gso = {first.v6 ? Gso::Kind::kTcp6 : Gso::Kind::kTcp4,
                           static_cast<uint16_t>(first.payload_size)}};
}

// The piece count was checked by run_length().
void Coalescer::add_payload(const Frame& frame, uint32_t skip, uint32_t size) {
  for (const iovec& part : frame.body) {
    if (size == 0) return;
    if (skip >= part.iov_len) {
      skip -= static_cast<uint32_t>(part.iov_len);
      continue;
    }
    const auto here = static_cast<uint32_t>(std::min<size_t>(size, part.iov_len - skip));
    parts_[part_count_++] = {static_cast<uint8_t*>(part.iov_base) + skip, here};
    size -= here;
    skip = 0;
  }
}

Coalescer& coalescer() {
  thread_local Coalescer one;
  return one;
}

}  // namespace netstack
