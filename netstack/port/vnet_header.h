#pragma once

#include <cstdint>
#include <optional>

#include "netstack/frame/frame.h"
#include "netstack/frame/segment.h"

namespace netstack {

// struct virtio_net_hdr without num_buffers (virtio 1.2 §5.1.6), as the kernel puts it in front of
// each frame of a packet socket with PACKET_VNET_HDR (packet(7)). Native byte order. All zero: the
// frame is finished.
struct VnetHeaderWire {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t head_bytes;  // a hint; we read the headers ourselves
  uint16_t gso_bytes;   // of payload per segment
  uint16_t checksum_start;
  uint16_t checksum_offset;
};
static_assert(sizeof(VnetHeaderWire) == 10);

struct VnetHeader {
  Offload offload;         // offsets from the start of the frame as it was received
  std::optional<Gso> gso;  // it is a super-frame
};

// Nothing: a kind of super-frame that Segmenter does not know (UDP fragmentation, tunnels).
std::optional<VnetHeader> read_vnet_header(const VnetHeaderWire& wire);

}  // namespace netstack
