#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "netstack/frame/frame.h"

namespace netstack {

// Lets the NAT engine write TCP in segments larger than the guests' MTU. See large_segments.cc.
class LargeSegments {
 public:
  // What the engine is told a guest takes, where a guest takes whole packets of the LAN's MTU.
  static constexpr uint16_t kSegment_bytes_max = 16'060;
  // What the engine is told of the MTU: nothing it writes to guests is longer.
  static constexpr uint16_t kEngineMtu_bytes_min = kSegment_bytes_max + 60;

  explicit LargeSegments(size_t mtu_bytes) : mtu_bytes_(mtu_bytes) {}

  size_t mtu_bytes() const { return mtu_bytes_; }

  // A guest's SYN on its way to the engine; `segment` begins at the TCP header.
  void raise_mss(std::span<uint8_t> segment, bool v6) const;

  // A frame on its way to a guest: lowers the segment size a SYN offers, and makes a super-frame of
  // TCP that is larger than the MTU. Returns how that is to be cut, its checksum being a partial
  // one from then on. All zero: the frame fits, or is no TCP.
  Offload put_right(std::span<uint8_t> frame) const;

  // An IPv4 packet that the engine would have fragmented, had it known the MTU.
  bool wants_fragments(std::span<const uint8_t> frame) const;

 private:
  uint16_t mss(bool v6) const;
  void lower_mss(std::span<uint8_t> segment, bool v6) const;
  Offload make_super_frame(std::span<uint8_t> frame, size_t tcp, bool v6) const;
  uint16_t raised_mss(bool v6) const;

  size_t mtu_bytes_;
};

}  // namespace netstack
