// Software GSO: what a network card does with a super-frame, done on a processor.
//
// A sender with segmentation offload hands over up to 64 KiB of TCP or UDP payload behind one set
// of headers and an order: so many bytes per segment. Each segment gets a copy of the headers, in
// which change
//
//   IPv4  total length, identifier (one more each time, RFC 6864 §4.3), header checksum
//   IPv6  payload length
//   TCP   sequence number; CWR stays on the first segment (RFC 3168 §6.1.2), FIN and PSH on the
//         last; checksum
//   UDP   length, checksum (zero is sent as all ones, RFC 768)
//
// and nothing else: options, timestamps and the acknowledgement are the same in all. Checksums are
// summed over the payload where it lies and not derived from the super-frame's, since that one is
// often partial and may be wrong.
//
// The payload is never copied: a segment is its headers from here and pieces of the payload from
// there. Cutting 64 KiB costs one pass over it for the checksums and 45 header copies.
//
// A virtual machine wrote these headers and may rewrite them while they are read. So they are
// copied once, at most kSegmentHead_size bytes, and only the copy is looked at: every length is
// checked against the bytes that are there, and an order for more than kSegmentCountMax segments is
// refused. A payload that changes meanwhile spoils its own checksum and nothing else. IP fragments
// are never cut: their transport header is not at hand in all of them.
#include "netstack/frame/segment.h"

#include <algorithm>

#include "netstack/base/bytes.h"

namespace netstack {
namespace {

constexpr uint32_t kIpv4Head_size = 20;
constexpr uint32_t kIpv6Head_size = 40;
constexpr uint32_t kTcpHead_size = 20;
constexpr uint32_t kUdpHead_size = 8;
constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;
constexpr unsigned kInnerTagsMax = 2;  // in front of the IP header, besides the outer tag

// TCP flags, RFC 9293 §3.1.
constexpr uint8_t kFin = 0x01;
constexpr uint8_t kPsh = 0x08;
constexpr uint8_t kCwr = 0x80;

bool is_tag(uint16_t ethertype) {
  return ethertype == kEthertypeVlan || ethertype == kEthertypeServiceVlan;
}

// Extension headers that may stand between IPv6 and TCP or UDP, RFC 8200 §4.1: hop-by-hop, routing,
// destination options.
bool is_extension(uint8_t next_header) {
  return next_header == 0 || next_header == 43 || next_header == 60;
}

}  // namespace

std::optional<DropReason> Segmenter::begin(const Frame& super, Gso gso) {
  done_ = true;
  super_ = super;
  gso_ = gso;
  body_size_ = super.bytes - super.head_bytes;
  if (super.body.size() >= kSegmentPartsMax) return DropReason::kLimit;
  copy_headers();
  if (gso.payload_bytes == 0 || !find_ip() || !read_transport()) return DropReason::kMalformed;
  if ((end_ - payload_) / gso.payload_bytes >= kSegmentCountMax) return DropReason::kMalformed;
  part_ = 0;
  part_offset_ = payload_;
  while (part_ < super_.body.size() && part_offset_ >= super_.body[part_].iov_len) {
    part_offset_ -= super_.body[part_++].iov_len;
  }
  next_ = payload_;
  index_ = 0;
  done_ = false;
  return std::nullopt;
}

void Segmenter::copy_headers() {
  header_size_ = 0;
  for (const iovec& part : super_.body) {
    const size_t size = std::min<size_t>(part.iov_len, header_.size() - header_size_);
    if (size == 0) continue;
    std::memcpy(&header_[header_size_], part.iov_base, size);
    header_size_ += static_cast<uint32_t>(size);
    if (header_size_ == header_.size()) return;
  }
}

// Passes the tags that are not in the frame's head, then reads the IP header. The body begins
// behind the head's ethertype.
bool Segmenter::find_ip() {
  uint16_t ethertype = super_.ethertype();
  ip_ = 0;
  for (unsigned tags = 0; is_tag(ethertype); ++tags) {
    if (tags == kInnerTagsMax || !have(ip_ + kTagBytes)) return false;
    ethertype = read_u16(&header_[ip_ + 2]);
    ip_ += kTagBytes;
  }
  switch (gso_.kind) {
    case Gso::Kind::kNone:
      return false;
    case Gso::Kind::kTcp4:
      return ethertype == kEthertypeIpv4 && read_ip4();
    case Gso::Kind::kTcp6:
      return ethertype == kEthertypeIpv6 && read_ip6();
    case Gso::Kind::kUdp:
      return ethertype == kEthertypeIpv4 ? read_ip4() : ethertype == kEthertypeIpv6 && read_ip6();
  }
  return false;
}

bool Segmenter::read_ip4() {
  if (!have(ip_ + kIpv4Head_size)) return false;
  const uint8_t* ip = &header_[ip_];
  const uint32_t head_size = (ip[0] & 0x0fU) * 4U;
  const bool fragment = (read_u16(ip + 6) & 0x3fffU) != 0;  // more follow, or an offset
  const uint8_t wanted = gso_.kind == Gso::Kind::kUdp ? kProtocolUdp : kProtocolTcp;
  if (ip[0] >> 4U != 4 || head_size < kIpv4Head_size || fragment || ip[9] != wanted) return false;
  transport_ = ip_ + head_size;
  end_ = ip_ + read_u16(ip + 2);
  return end_ >= transport_ && end_ <= body_size_;
}

bool Segmenter::read_ip6() {
  if (!have(ip_ + kIpv6Head_size)) return false;
  const uint8_t* ip = &header_[ip_];
  if (ip[0] >> 4U != 6) return false;
  end_ = ip_ + kIpv6Head_size + read_u16(ip + 4);
  if (end_ > body_size_) return false;
  uint8_t next_header = ip[6];
  transport_ = ip_ + kIpv6Head_size;
  for (unsigned count = 0; is_extension(next_header); ++count) {
    if (count == kSegmentExtensionsMax || transport_ + 8 > end_ || !have(transport_ + 8)) {
      return false;
    }
    next_header = header_[transport_];
    transport_ += (header_[transport_ + 1] + 1U) * 8U;
  }
  const uint8_t wanted = gso_.kind == Gso::Kind::kUdp ? kProtocolUdp : kProtocolTcp;
  return next_header == wanted && transport_ <= end_;
}

bool Segmenter::read_transport() {
  if (gso_.kind == Gso::Kind::kUdp) {
    payload_ = transport_ + kUdpHead_size;
  } else {
    if (!have(transport_ + kTcpHead_size)) return false;
    const uint32_t head_size = (header_[transport_ + 12] >> 4U) * 4U;
    if (head_size < kTcpHead_size) return false;
    payload_ = transport_ + head_size;
  }
  return payload_ <= end_ && have(payload_);
}

std::span<Frame> Segmenter::next() {
  size_t count = 0;
  part_count_ = 0;
  while (count < kBurstFrames && !done_ && room_for_one()) make(count++);
  return {frames_.data(), count};
}

void Segmenter::make(size_t slot) {
  const uint32_t payload_size = std::min<uint32_t>(gso_.payload_bytes, end_ - next_);
  const bool last = next_ + payload_size == end_;
  uint8_t* head = heads_[slot].data();
  std::memcpy(head, header_.data(), payload_);
  const size_t first_part = part_count_;
  parts_[part_count_++] = {head, payload_};

  finish_ip(head + ip_, payload_size);
  uint8_t* transport = head + transport_;
  const bool udp = gso_.kind == Gso::Kind::kUdp;
  const uint32_t segment_size = payload_ - transport_ + payload_size;
  if (udp) {
    write_u16(transport + 4, segment_size);
  } else {
    finish_tcp(transport, last);
  }

  // The pseudo-header: both addresses, protocol and length (RFC 9293 §3.1, RFC 8200 §8.1).
  Checksum sum;
  const bool v6 = head[ip_] >> 4U == 6;
  sum.add({head + ip_ + (v6 ? 8 : 12), v6 ? 32U : 8U});
  sum.add_u32(udp ? kProtocolUdp : kProtocolTcp);
  sum.add_u32(segment_size);
  uint8_t* field = transport + (udp ? 6 : 16);
  write_u16(field, 0);
  sum.add({transport, payload_ - transport_});
  take_payload(payload_size, sum);
  const uint16_t checksum = sum.finish();
  write_u16(field, udp && checksum == 0 ? 0xffffU : checksum);

  Frame& frame = frames_[slot];
  frame = super_;
  frame.offload = {};
  frame.bytes = super_.head_bytes + payload_ + payload_size;
  frame.body = std::span(parts_).subspan(first_part, part_count_ - first_part);
  next_ += payload_size;
  ++index_;
  done_ = last;
}

// Adds the next `size` bytes of payload to the current segment's pieces and to its sum. A piece
// that ends at an odd offset shifts all that follow by a byte: they are summed apart and swapped
// in.
void Segmenter::take_payload(uint32_t size, Checksum& sum) {
  bool odd = false;
  while (size > 0) {
    const iovec& part = super_.body[part_];
    const auto here = static_cast<uint32_t>(std::min<size_t>(size, part.iov_len - part_offset_));
    uint8_t* at = static_cast<uint8_t*>(part.iov_base) + part_offset_;
    if (here > 0) {
      parts_[part_count_++] = {at, here};
      sum.add_shifted({at, here}, odd);
      odd = odd != ((here & 1U) != 0);
    }
    size -= here;
    part_offset_ += here;
    if (part_offset_ == part.iov_len) {
      ++part_;
      part_offset_ = 0;
    }
  }
}

void Segmenter::finish_ip(uint8_t* ip, uint32_t payload_size) const {
  const uint32_t packet_size = payload_ - ip_ + payload_size;
  if (ip[0] >> 4U == 6) {
    write_u16(ip + 4, packet_size - kIpv6Head_size);
    return;
  }
  write_u16(ip + 2, packet_size);
  write_u16(ip + 4, read_u16(ip + 4) + index_);
  write_u16(ip + 10, 0);
  write_u16(ip + 10, internet_checksum({ip, transport_ - ip_}));
}

void Segmenter::finish_tcp(uint8_t* tcp, bool last) const {
  write_u32(tcp + 4, read_u32(tcp + 4) + next_ - payload_);
  if (index_ != 0) tcp[13] &= static_cast<uint8_t>(~kCwr);
  if (!last) tcp[13] &= static_cast<uint8_t>(~(kFin | kPsh));
}

}  // namespace netstack
