#include "netstack/port/vnet_header.h"

namespace netstack {
namespace {

constexpr uint8_t kNeedsChecksum = 1;  // VIRTIO_NET_HDR_F_NEEDS_CSUM
constexpr uint8_t kGsoNone = 0;        // VIRTIO_NET_HDR_GSO_…
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoTcp6 = 4;
constexpr uint8_t kGsoUdpSegments = 5;  // VIRTIO_NET_HDR_GSO_UDP_L4
constexpr uint8_t kGsoEcn = 0x80;       // CWR is set on the first segment: Segmenter sees it

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

}  // namespace

std::optional<VnetHeader> read_vnet_header(const VnetHeaderWire& wire) {
  VnetHeader header;
  if ((wire.flags & kNeedsChecksum) != 0) {
    header.offload = {true, wire.checksum_start, wire.checksum_offset};
  }
  const auto gso_type = static_cast<uint8_t>(wire.gso_type & ~kGsoEcn);
  if (gso_type == kGsoNone) return header;
  const auto kind = kind_of(gso_type);
  if (!kind) return std::nullopt;
  header.gso = Gso{*kind, wire.gso_bytes};
  return header;
}

}  // namespace netstack
