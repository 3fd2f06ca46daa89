// IPv4 fragments in any order, overlapping, repeated, too late. Every byte of a datagram is known
// by its place, so that what is put together can be judged: it has only bytes that were sent for
// it, at their places. Cut again it comes out the same.
//
//   records: datagram (low 2 bits), more follow (bit 2), time (the rest, seconds) │ offset in units
//   of 8 (2) │ size (2)
#include <vector>

#include "netstack/base/check.h"
#include "netstack/flows/fragments.h"
#include "tests/fuzz/input.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Bytes;

namespace {

constexpr size_t kRecords_count = 256;
constexpr size_t kFragmentPayloadBytesMax = 4096;

uint8_t byte_at(uint16_t id, size_t place) {
  return static_cast<uint8_t>(id * 31U + place * 7U + place / 256U);
}

Bytes fragment(const Ipv4& wanted, size_t payload_bytes) {
  Bytes packet(kIpv4HeadBytes + payload_bytes);
  Ipv4 header = wanted;
  header.total_bytes = static_cast<uint16_t>(packet.size());
  write_ipv4(header, packet.data());
  for (size_t at = 0; at < payload_bytes; ++at) {
    packet[kIpv4HeadBytes + at] = byte_at(wanted.id, wanted.fragment_offset + at);
  }
  return packet;
}

void judge(std::span<const uint8_t> whole) {
  const auto header = parse_ipv4(whole);
  check(header && !header->is_fragment() && header->total_bytes == whole.size(),
        "what is put together is a whole packet");
  const auto payload = ipv4_payload(*header, whole);
  for (size_t at = 0; at < payload.size(); ++at) {
    check(payload[at] == byte_at(header->id, at), "each byte is where it was sent");
  }
}

void cut_again(std::span<const uint8_t> whole, size_t mtu_bytes) {
  const Bytes before(whole.begin(), whole.end());
  const auto pieces = fragment_ipv4(before, mtu_bytes);
  check(!pieces.empty(), "a packet has pieces");
  if (pieces.size() == 1) return check(pieces[0] == before, "one piece is the packet");
  Reassembler again;
  for (size_t at = 0; at < pieces.size(); ++at) {
    check(pieces[at].size() <= mtu_bytes, "a piece fits");
    const auto header = parse_ipv4(pieces[at]);
    check(header && header->is_fragment(), "a piece is a fragment");
    const auto result = again.add(*header, pieces[at], 0);
    const bool last = at + 1 == pieces.size();
    check(result.has_value() == last, "it is whole with its last piece");
    if (last) check(std::ranges::equal(*result, before), "and as it was");
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  Reassembler reassembler;
  uint64_t now_ns = 0;
  for (size_t at = 0; at < kRecords_count && !input.empty(); ++at) {
    const uint8_t first = input.u8();
    now_ns += (first >> 3U) * kSecond_ns;
    Ipv4 header;
    header.id = first & 3U;
    header.more_fragments = (first & 4U) != 0;
    header.fragment_offset = static_cast<uint16_t>((input.u16() & 0x1fffU) * 8);
    header.protocol = kProtocolUdp;
    header.source = packets::ip("10.0.2.15");
    header.destination = packets::ip("10.0.2.2");
    const Bytes packet = fragment(header, input.u16() % kFragmentPayloadBytesMax);
    const auto parsed = parse_ipv4(packet);
    if (!parsed || !parsed->is_fragment()) continue;
    if (const auto whole = reassembler.add(*parsed, packet, now_ns)) {
      judge(*whole);
      cut_again(*whole, 68 + packet.size() % 1500);
    }
    check(reassembler.datagram_count() <= Reassembler::kDatagramsMax, "datagrams are bounded");
  }
  return 0;
}
