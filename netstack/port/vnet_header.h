#pragma once

#include <cstdint>
#include <optional>

#include "netstack/frame/frame.h"

namespace netstack {

// struct virtio_net_hdr without num_buffers (virtio 1.2 §5.1.6), as the kernel puts it in front of
// each frame of a packet socket with PACKET_VNET_HDR (packet(7)) or a tap with IFF_VNET_HDR, and a
// guest in front of each frame in its queues. Native byte order, which is little-endian wherever we
// run. All zero: the frame is finished.
struct VnetHeaderWire {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t head_bytes;  // a hint; we read the headers ourselves
  uint16_t gso_bytes;   // of payload per segment
  uint16_t checksum_start;
  uint16_t checksum_offset;
};
static_assert(sizeof(VnetHeaderWire) == 10);

// Nothing: a kind of super-frame that Segmenter does not know (UDP fragmentation, tunnels), or an
// order for segments of nothing. Offsets count from the start of the frame as it was received.
std::optional<Offload> read_vnet_header(const VnetHeaderWire& wire);

// What read_vnet_header() reads.
VnetHeaderWire write_vnet_header(const Offload& offload);

// Whether the offload's offsets lie inside a frame of that many bytes.
inline bool offload_fits(const Offload& offload, uint32_t frame_bytes) {
  return !offload.needs_checksum ||
         uint32_t{offload.checksum_start} + offload.checksum_offset + 2 <= frame_bytes;
}

}  // namespace netstack
