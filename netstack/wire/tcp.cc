#include "netstack/wire/tcp.h"

#include "netstack/base/bytes.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"

namespace netstack {

namespace {

constexpr size_t kFlagsAt = 12;  // data offset and flags, one word
constexpr size_t kChecksumAt = 16;
constexpr size_t kUrgentAt = 18;

// One word's change in a checksum, RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m').
uint16_t changed_checksum(uint16_t checksum, uint16_t old_word, uint16_t new_word) {
  uint32_t sum = static_cast<uint16_t>(~checksum);
  sum += static_cast<uint16_t>(~old_word);
  sum += new_word;
  sum = (sum >> 16U) + (sum & 0xffffU);
  sum = (sum >> 16U) + (sum & 0xffffU);
  return static_cast<uint16_t>(~sum);
}

// Stores the word at `at` and keeps the segment's checksum right.
void replace_word(std::span<uint8_t> segment, size_t at, uint16_t word) {
  const uint16_t checksum = read_u16(&segment[kChecksumAt]);
  write_u16(&segment[kChecksumAt], changed_checksum(checksum, read_u16(&segment[at]), word));
  write_u16(&segment[at], word);
}

}  // namespace

std::optional<Tcp> parse_tcp(std::span<const uint8_t> segment) {
  if (segment.size() < kTcpHeadBytes) return std::nullopt;
  Tcp tcp;
  tcp.header_bytes = static_cast<uint8_t>((segment[kFlagsAt] >> 4U) * 4);
  if (tcp.header_bytes < kTcpHeadBytes || tcp.header_bytes > segment.size()) return std::nullopt;
  tcp.source_port = read_u16(&segment[0]);
  tcp.destination_port = read_u16(&segment[2]);
  tcp.seq = read_u32(&segment[4]);
  tcp.ack = read_u32(&segment[8]);
  tcp.flags = segment[kFlagsAt + 1];
  tcp.window = read_u16(&segment[14]);
  tcp.checksum = read_u16(&segment[kChecksumAt]);
  tcp.urgent = read_u16(&segment[kUrgentAt]);
  tcp.payload = segment.subspan(tcp.header_bytes);
  return tcp;
}

void write_tcp(const Tcp& tcp, uint8_t* out) {
  write_u16(out, tcp.source_port);
  write_u16(out + 2, tcp.destination_port);
  write_u32(out + 4, tcp.seq);
  write_u32(out + 8, tcp.ack);
  out[kFlagsAt] = kTcpHeadBytes / 4 << 4U;
  out[kFlagsAt + 1] = tcp.flags;
  write_u16(out + 14, tcp.window);
  write_u16(out + kChecksumAt, tcp.checksum);
  write_u16(out + kUrgentAt, tcp.urgent);
}

std::vector<uint8_t> make_tcp_packet(const IpAddress& source, const IpAddress& destination,
                                     const Tcp& tcp) {
  const size_t head_bytes = source.v6 ? kIpv6HeadBytes : kIpv4HeadBytes;
  std::vector<uint8_t> packet(head_bytes + kTcpHeadBytes);
  if (source.v6) {
    write_ipv6({.payload_bytes = kTcpHeadBytes,
                .next_header = kProtocolTcp,
                .source = source,
                .destination = destination},
               packet.data());
  } else {
    write_ipv4({.protocol = kProtocolTcp,
                .source = source,
                .destination = destination,
                .total_bytes = static_cast<uint16_t>(packet.size())},
               packet.data());
  }
  const std::span<uint8_t> segment = std::span(packet).subspan(head_bytes);
  Tcp whole = tcp;
  whole.checksum = 0;
  write_tcp(whole, segment.data());
  whole.checksum = transport_checksum(source, destination, kProtocolTcp, segment);
  write_tcp(whole, segment.data());
  return packet;
}

// The data offset is of no interest here: whatever a receiver makes of it, these bytes are fixed.
bool clear_urgent(std::span<uint8_t> segment) {
  if (segment.size() < kTcpHeadBytes) return false;
  const uint16_t flags = read_u16(&segment[kFlagsAt]);
  const uint16_t urgent = read_u16(&segment[kUrgentAt]);
  if ((flags & kTcpUrg) == 0 && urgent == 0) return false;
  replace_word(segment, kFlagsAt, static_cast<uint16_t>(flags & ~uint16_t{kTcpUrg}));
  replace_word(segment, kUrgentAt, 0);
  return true;
}

}  // namespace netstack
