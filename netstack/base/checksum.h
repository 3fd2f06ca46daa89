#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace netstack {

// The Internet checksum (RFC 1071) as a running one's-complement sum. Values are in network order
// once `finish`ed; pieces may be added in any order as long as each starts at an even offset.
class Checksum {
 public:
  void add(std::span<const uint8_t> bytes);  // an odd last byte is padded with zero
  // The same for a piece of one whole that starts at an odd offset, when `odd` says so.
  void add_shifted(std::span<const uint8_t> bytes, bool odd);
  void add_u16(uint16_t host_order) { sum_ += host_order; }
  void add_u32(uint32_t host_order) { sum_ += (host_order >> 16U) + (host_order & 0xffffU); }
  uint16_t finish() const;  // the complement, host order; store it big-endian

 private:
  uint64_t sum_ = 0;
};

uint16_t internet_checksum(std::span<const uint8_t> bytes);

// Does the work Offload::needs_checksum describes on a whole frame in `bytes`: sums from
// checksum_start to the end (the field already holds the pseudo-header's sum) and stores the
// result, in UDP's place as UDP has it. False: start or offset lie outside the frame; nothing was
// changed.
bool finish_checksum(std::span<uint8_t> bytes, uint16_t checksum_start, uint16_t checksum_offset);

}  // namespace netstack
