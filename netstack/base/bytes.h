#pragma once

#include <cstdint>

namespace netstack {

// Numbers in network byte order (RFC 791, appendix B). The caller has checked that the bytes are
// there; no alignment is needed.
inline uint16_t read_u16(const uint8_t* at) {
  return static_cast<uint16_t>(at[0] << 8U | at[1]);
}

inline uint32_t read_u32(const uint8_t* at) {
  return uint32_t{at[0]} << 24U | uint32_t{at[1]} << 16U | uint32_t{at[2]} << 8U | at[3];
}

// The low 16 bits of `value`.
inline void write_u16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8U);
  at[1] = static_cast<uint8_t>(value);
}

inline void write_u32(uint8_t* at, uint32_t value) {
  write_u16(at, value >> 16U);
  write_u16(at + 2, value);
}

}  // namespace netstack
