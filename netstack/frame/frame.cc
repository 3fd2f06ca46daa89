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

uint32_t copy_frame(const Frame& frame, uint8_t* out, uint32_t bytes_max) {
  size_t copied = std::min<size_t>(frame.head_bytes, bytes_max);
  std::memcpy(out, frame.head.data(), copied);
  for (const iovec& part : frame.body) {
    const size_t size = std::min<size_t>(part.iov_len, bytes_max - copied);
    if (size == 0) continue;  // its base may be null, which memcpy must not be given
    std::memcpy(out + copied, part.iov_base, size);
    copied += size;
  }
  return static_cast<uint32_t>(copied);
}

}  // namespace netstack
