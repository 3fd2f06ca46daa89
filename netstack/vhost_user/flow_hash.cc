#include "netstack/vhost_user/flow_hash.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace netstack {
namespace {

constexpr size_t kLook_size = 44;  // IPv6 and ports, or IPv4 with ports
constexpr size_t kIpv4Addresses_offset = 12;
constexpr size_t kIpv6Addresses_offset = 8;
constexpr size_t kIpv6Head_size = 40;
constexpr size_t kAddresses_size = 12;  // of Ethernet
constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;
constexpr uint64_t kOddConstant = 0x9e37'79b9'7f4a'7c15U;  // 2^64 by the golden ratio

class Mixer {
 public:
  void add(const uint8_t* at, size_t size) {
    for (; size >= 4; at += 4, size -= 4) {
      uint32_t word = 0;
      std::memcpy(&word, at, sizeof word);
      state_ = (state_ ^ word) * kOddConstant;
      state_ ^= state_ >> 29U;
    }
  }
  uint32_t value() const { return static_cast<uint32_t>(state_ >> 32U); }

 private:
  uint64_t state_ = kOddConstant;
};

bool has_ports(uint8_t protocol) {
  return protocol == kProtocolTcp || protocol == kProtocolUdp;
}

}  // namespace

uint32_t flow_hash(const Frame& frame) {
  std::array<uint8_t, kLook_size> look{};
  size_t have = 0;
  for (const iovec& part : frame.body) {
    const size_t size = std::min(part.iov_len, look.size() - have);
    if (size != 0) std::memcpy(&look[have], part.iov_base, size);
    have += size;
    if (have == look.size()) break;
  }
  Mixer mixer;
  if (frame.ethertype() == kEthertypeIpv4 && have >= 24) {
    mixer.add(&look[kIpv4Addresses_offset], 8);
    const bool fragment = ((look[6] & 0x3fU) | look[7]) != 0;
    if (look[0] == 0x45 && !fragment && has_ports(look[9])) mixer.add(&look[20], 4);
  } else if (frame.ethertype() == kEthertypeIpv6 && have >= kLook_size) {
    mixer.add(&look[kIpv6Addresses_offset], 32);
    if (has_ports(look[6])) mixer.add(&look[kIpv6Head_size], 4);
  } else {
    mixer.add(frame.head.data(), kAddresses_size);
  }
  return mixer.value();
}

}  // namespace netstack
