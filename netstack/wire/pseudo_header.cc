#include "netstack/wire/pseudo_header.h"

#include "netstack/base/check.h"
#include "netstack/base/checksum.h"

namespace netstack {

// IPv4 has 8 bits of zero, the protocol and a 16-bit length; IPv6 a 32-bit length, 24 bits of zero
// and the next header. Their sums are the same for any length both can express.
uint16_t transport_checksum(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                            std::span<const uint8_t> segment) {
  check(source.v6 == destination.v6, "a pseudo-header has addresses of one family");
  Checksum sum;
  sum.add(source.bytes());
  sum.add(destination.bytes());
  sum.add_u32(static_cast<uint32_t>(segment.size()));
  sum.add_u16(protocol);
  sum.add(segment);
  return sum.finish();
}

}  // namespace netstack
