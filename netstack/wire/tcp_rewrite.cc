#include "netstack/wire/tcp_rewrite.h"

#include <algorithm>
#include <array>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/tcp.h"

namespace netstack {

namespace {

constexpr size_t kIpv4ChecksumAt = 10;
constexpr size_t kTcpChecksumAt = 16;
// TCP options, RFC 9293 §3.2.
constexpr uint8_t kOptionEnd = 0;
constexpr uint8_t kOptionNothing = 1;
constexpr uint8_t kOptionMss = 2;
constexpr size_t kOptionMss_size = 4;
constexpr size_t kSource4At = 12;
constexpr size_t kDestination4At = 16;
constexpr size_t kSource6At = 8;
constexpr size_t kDestination6At = 24;

// ~(~checksum + ~old + fresh), RFC 1624 equation 3.
uint16_t corrected(uint16_t checksum, uint16_t old, uint16_t fresh) {
  uint32_t sum = uint32_t{static_cast<uint16_t>(~checksum)} + static_cast<uint16_t>(~old) + fresh;
  sum = (sum & 0xffffU) + (sum >> 16U);
  sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<uint16_t>(~sum);
}

void correct(uint8_t* checksum, uint16_t old, uint16_t fresh) {
  write_u16(checksum, corrected(read_u16(checksum), old, fresh));
}

void rewrite(std::span<uint8_t> packet, size_t address_at, const IpAddress& address, size_t port_at,
             uint16_t port) {
  const size_t head_bytes = address.v6 ? kIpv6HeadBytes : size_t{packet[0] & 0x0fU} * 4;
  check(packet.size() >= head_bytes + kTcpHeadBytes, "a TCP packet has its header");
  uint8_t* tcp = packet.data() + head_bytes;
  const auto bytes = address.bytes();
  for (size_t at = 0; at < bytes.size(); at += 2) {
    uint8_t* word = packet.data() + address_at + at;
    const uint16_t old = read_u16(word);
    const uint16_t fresh = read_u16(&bytes[at]);
    if (!address.v6) correct(packet.data() + kIpv4ChecksumAt, old, fresh);
    correct(tcp + kTcpChecksumAt, old, fresh);
    write_u16(word, fresh);
  }
  correct(tcp + kTcpChecksumAt, read_u16(tcp + port_at), port);
  write_u16(tcp + port_at, port);
}

// Where the value of the option begins. 0: there is none.
size_t find_mss(std::span<const uint8_t> segment) {
  if (segment.size() < kTcpHeadBytes) return 0;
  const size_t end = std::min<size_t>(segment.size(), size_t{segment[12]} / 16 * 4);
  size_t at = kTcpHeadBytes;
  while (at < end && segment[at] != kOptionEnd) {
    if (segment[at] == kOptionNothing) {
      ++at;
      continue;
    }
    if (at + 1 >= end || segment[at + 1] < 2) return 0;
    const size_t size = segment[at + 1];
    if (at + size > end) return 0;
    if (segment[at] == kOptionMss && size == kOptionMss_size) return at + 2;
    at += size;
  }
  return 0;
}

}  // namespace

std::optional<uint16_t> read_mss(std::span<const uint8_t> segment) {
  const size_t at = find_mss(segment);
  return at == 0 ? std::nullopt : std::optional(read_u16(&segment[at]));
}

// The option may begin at an odd place, where it lies in two words of the sum.
void rewrite_mss(std::span<uint8_t> segment, uint16_t mss_bytes) {
  const size_t at = find_mss(segment);
  check(at != 0, "only a maximum segment size that is there is rewritten");
  const size_t first = at & ~size_t{1};
  const size_t end = std::min((at + 3) & ~size_t{1}, segment.size() & ~size_t{1});
  std::array<uint16_t, 2> old{};
  for (size_t word = first; word < end; word += 2)
    old[(word - first) / 2] = read_u16(&segment[word]);
  write_u16(&segment[at], mss_bytes);
  for (size_t word = first; word < end; word += 2) {
    correct(&segment[kTcpChecksumAt], old[(word - first) / 2], read_u16(&segment[word]));
  }
}

void rewrite_destination(std::span<uint8_t> ip_packet, const IpAddress& address, uint16_t port) {
  rewrite(ip_packet, address.v6 ? kDestination6At : kDestination4At, address, 2, port);
}

void rewrite_source(std::span<uint8_t> ip_packet, const IpAddress& address, uint16_t port) {
  rewrite(ip_packet, address.v6 ? kSource6At : kSource4At, address, 0, port);
}

}  // namespace netstack
