#pragma once

#include <bitset>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/wire/ipv4.h"

namespace netstack {

// Puts IPv4 fragments together (RFC 791 §3.2): `ping -s 2000` and large datagrams arrive in pieces.
// Memory is bounded; pieces that overlap or contradict each other end their datagram, since an
// honest sender makes none.
class Reassembler {
 public:
  static constexpr size_t kDatagramsMax = 16;  // under way; the oldest makes room
  static constexpr uint64_t kAge_ns_max =
      30 * kSecond_ns;  // RFC 1122 §3.3.2 says 60 to 120; echo needs less

  // `packet` is a fragment whose header is `header`. Returns the whole packet, its header made that
  // of an unfragmented one, once the last piece is in. Valid until the next call.
  std::optional<std::span<const uint8_t>> add(const Ipv4& header, std::span<const uint8_t> packet,
                                              uint64_t now_ns);

  size_t datagram_count() const { return datagrams_.size(); }

 private:
  static constexpr size_t kUnitBytes = 8;
  static constexpr size_t kPayloadBytesMax = 65'535 - 20;

  struct Datagram {
    Ipv4 header;
    uint64_t begun_ns = 0;
    std::vector<uint8_t> payload;
    std::bitset<kPayloadBytesMax / kUnitBytes + 1> units;  // which 8-byte units are in
    size_t unit_count = 0;
    size_t payload_bytes = 0;  // known with the last fragment; 0 before
  };

  std::list<Datagram> datagrams_;  // oldest first
  std::vector<uint8_t> whole_;
};

// Cuts a packet (20-byte header, no options) into fragments of at most `mtu_bytes`. One element,
// the packet itself, when it fits.
std::vector<std::vector<uint8_t>> fragment_ipv4(std::span<const uint8_t> packet, size_t mtu_bytes);

}  // namespace netstack
