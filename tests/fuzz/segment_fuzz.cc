// Super-frames as a virtual machine behind a packet socket orders them: a virtio-net header and a
// frame, both arbitrary. Checked: what is cut adds up to what came, and every segment is a packet
// that a receiver accepts.
//
//   vnet header (10) │ frame
#include <cstring>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/frame/segment.h"
#include "netstack/port/memory_port.h"
#include "netstack/port/vnet_header.h"
#include "tests/fuzz/input.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Bytes;

namespace {

std::span<const uint8_t> payload_of(const packets::Parsed& segment, Gso::Kind kind) {
  return kind == Gso::Kind::kUdp ? segment.udp->payload : segment.tcp->payload;
}

bool has_transport(const packets::Parsed& segment, Gso::Kind kind) {
  return kind == Gso::Kind::kUdp ? segment.udp.has_value() : segment.tcp.has_value();
}

Bytes bytes_of(const Frame& frame) {
  Bytes bytes(frame.bytes);
  check(copy_frame(frame, bytes.data()) == frame.bytes, "a segment is as long as it says");
  return bytes;
}

// The IP packet behind however many tags there are.
std::span<const uint8_t> packet_of(const Bytes& bytes) {
  size_t at = kEthernetHeadBytes - 2;
  for (; at + kTagBytes < bytes.size(); at += kTagBytes) {
    const uint16_t type = read_u16(&bytes[at]);
    if (type != kEthertypeVlan && type != kEthertypeServiceVlan) break;
  }
  return std::span(bytes).subspan(at + 2);
}

// Returns how much payload the segment carries.
size_t judge(const Frame& segment, const Gso& gso) {
  const Bytes bytes = bytes_of(segment);
  const packets::Parsed parsed = packets::parse_ip(packet_of(bytes));
  check(parsed.ipv4 || parsed.ipv6, "a segment has an IP header");
  check(has_transport(parsed, gso.kind), "a segment has a transport header");
  check(parsed.transport_checksum_valid, "a segment's checksum is right");
  const size_t size = payload_of(parsed, gso.kind).size();
  check(size <= gso.payload_bytes, "a segment is no longer than was ordered");
  return size;
}

void cut(const Frame& super, const Gso& gso) {
  static Segmenter segmenter;  // as a port has it: one for all its frames
  if (segmenter.begin(super, gso)) {
    check(segmenter.next().empty(), "what is refused has no segments");
    return;
  }
  size_t count = 0;
  size_t payload_size = 0;
  bool ended = false;
  for (auto burst = segmenter.next(); !burst.empty(); burst = segmenter.next()) {
    check(burst.size() <= kBurstFrames, "segments come in bursts");
    for (const Frame& segment : burst) {
      check(!ended, "only the last segment is short");
      const size_t size = judge(segment, gso);
      ended = size < gso.payload_bytes;
      payload_size += size;
      ++count;
    }
  }
  check(count > 0 && count <= kSegmentCountMax, "segments are bounded");
  check(payload_size < super.bytes, "payload is not invented");
  check(count == 1 || payload_size > (count - 1) * gso.payload_bytes, "no segment is missing");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  VnetHeaderWire wire{};
  const auto head = input.bytes(sizeof wire);
  std::memcpy(&wire, head.data(), head.size());
  const auto header = read_vnet_header(wire);
  const auto bytes = input.bytes(kFrameBytesMax);
  Frame frame;
  iovec body{};
  if (!header || !view_frame(bytes.data(), bytes.size(), frame, body)) return 0;
  frame.offload = *header;
  if (header->is_super_frame()) cut(frame, header->gso);

  MemoryPort port("egress");
  port.send({&frame, 1});
  const PortCounters& counters = port.counters();
  if (header->is_super_frame()) {  // cut on its way out
    check(counters.egress_frames + counters.dropped() > 0, "a super-frame is sent or dropped");
    return 0;
  }
  check(counters.egress_frames + counters.dropped() == 1, "a frame is sent or dropped");
  check(counters.egress_bytes == counters.egress_frames * size_t{frame.bytes}, "and sent whole");
  return 0;
}
