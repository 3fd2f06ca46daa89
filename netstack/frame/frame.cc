#include "netstack/frame/frame.h"

#include <fmt/format.h>

namespace netstack {

std::string to_string(const Mac& mac) {
  const auto& o = mac.octets;
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", o[0], o[1], o[2], o[3], o[4],
                     o[5]);
}

bool view_frame(const uint8_t* data, size_t size, Frame& frame, iovec& body) {
  if (!copy_head(data, size, frame)) return false;
  frame.offload = {};
  body = {const_cast<uint8_t*>(data) + frame.head_bytes, size - frame.head_bytes};
  frame.body = {&body, 1};
  return true;
}

uint32_t copy_frame(const Frame& frame, uint8_t* out) {
  std::memcpy(out, frame.head.data(), frame.head_bytes);
  uint8_t* at = out + frame.head_bytes;
  for (const iovec& part : frame.body) {
    if (part.iov_len == 0) continue;  // its base may be null, which memcpy must not be given
    std::memcpy(at, part.iov_base, part.iov_len);
    at += part.iov_len;
  }
  return static_cast<uint32_t>(at - out);
}

}  // namespace netstack
