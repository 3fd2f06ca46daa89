#include "netstack/wire/udp.h"

#include "netstack/wire/bytes.h"

namespace netstack {

std::optional<Udp> parse_udp(std::span<const uint8_t> segment) {
  if (segment.size() < kUdpHeadBytes) return std::nullopt;
  Udp udp;
  udp.length = read_u16(&segment[4]);
  if (udp.length < kUdpHeadBytes || udp.length > segment.size()) return std::nullopt;
  udp.source_port = read_u16(&segment[0]);
  udp.destination_port = read_u16(&segment[2]);
  udp.checksum = read_u16(&segment[6]);
  udp.payload = segment.subspan(kUdpHeadBytes, udp.length - kUdpHeadBytes);
  return udp;
}

void write_udp(const Udp& udp, uint8_t* out) {
  write_u16(out, udp.source_port);
  write_u16(out + 2, udp.destination_port);
  write_u16(out + 4, udp.length);
  write_u16(out + 6, udp.checksum);
}

}  // namespace netstack
