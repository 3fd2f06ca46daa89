#include "netstack/port/vnet_header.h"

namespace netstack {
namespace {

constexpr uint8_t kNeedsChecksum = 1;  // VIRTIO_NET_HDR_F_NEEDS_CSUM
constexpr uint8_t kGsoNone = 0;        // VIRTIO_NET_HDR_GSO_…
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoTcp6 = 4;
constexpr uint8_t kGsoUdpSegments = 5;  // VIRTIO_NET_HDR_GSO_UDP_L4
constexpr uint8_t kGsoEcn = 0x80;       // CWR is set on the first segment: Segmenter sees it

constexpr uint16_t kTcpHead_size = 20;
constexpr uint16_t kUdpHead_size = 8;

std::optional<Gso::Kind> kind_of(uint8_t gso_type) {
  switch (gso_type) {
    case kGsoTcp4:
      return Gso::Kind::kTcp4;
    case kGsoTcp6:
      return Gso::Kind::kTcp6;
    case kGsoUdpSegments:
      return Gso::Kind::kUdp;
    default:
      return std::nullopt;
  }
}

uint8_t type_of(const Offload& offload) {
  const uint8_t ecn = offload.ecn ? kGsoEcn : uint8_t{0};
  switch (offload.gso.kind) {
    case Gso::Kind::kNone:
      return kGsoNone;
    case Gso::Kind::kTcp4:
      return kGsoTcp4 | ecn;
    case Gso::Kind::kTcp6:
      return kGsoTcp6 | ecn;
    case Gso::Kind::kUdp:
      return kGsoUdpSegments;
  }
  return kGsoNone;
}

}  // namespace

std::optional<Offload> read_vnet_header(const VnetHeaderWire& wire) {
  Offload offload;
  if ((wire.flags & kNeedsChecksum) != 0) {
    offload.needs_checksum = true;
    offload.checksum_start = wire.checksum_start;
    offload.checksum_offset = wire.checksum_offset;
  }
  const auto gso_type = static_cast<uint8_t>(wire.gso_type & ~kGsoEcn);
  if (gso_type == kGsoNone) return offload;
  const auto kind = kind_of(gso_type);
  if (!kind || wire.gso_bytes == 0) return std::nullopt;
  offload.gso = {*kind, wire.gso_bytes};
  offload.ecn = (wire.gso_type & kGsoEcn) != 0;
  return offload;
}

VnetHeaderWire write_vnet_header(const Offload& offload) {
  VnetHeaderWire wire{};
  if (offload.needs_checksum) {
    wire.flags = kNeedsChecksum;
    wire.checksum_start = offload.checksum_start;
    wire.checksum_offset = offload.checksum_offset;
  }
  if (!offload.is_super_frame()) return wire;
  wire.gso_type = type_of(offload);
  wire.gso_bytes = offload.gso.payload_bytes;
  const bool udp = offload.gso.kind == Gso::Kind::kUdp;
  wire.head_bytes =
      static_cast<uint16_t>(offload.checksum_start + (udp ? kUdpHead_size : kTcpHead_size));
  return wire;
}

}  // namespace netstack
