#include "netstack/flows/fragments.h"

#include <algorithm>

namespace netstack {

std::optional<std::span<const uint8_t>> Reassembler::add(const Ipv4& header,
                                                         std::span<const uint8_t> packet,
                                                         uint64_t now_ns) {
  std::erase_if(datagrams_, [&](const Datagram& d) { return d.begun_ns + kAge_ns_max <= now_ns; });
  auto datagram = std::ranges::find_if(datagrams_, [&](const Datagram& d) {
    return d.header.id == header.id && d.header.source == header.source &&
           d.header.destination == header.destination && d.header.protocol == header.protocol;
  });
  if (datagram == datagrams_.end()) {
    if (datagrams_.size() == kDatagramsMax) datagrams_.pop_front();
    datagrams_.emplace_back();
    datagram = std::prev(datagrams_.end());
    datagram->header = header;
    datagram->begun_ns = now_ns;
  }

  const auto piece = packet.subspan(header.header_bytes, header.total_bytes - header.header_bytes);
  const size_t start = header.fragment_offset;
  const size_t end = start + piece.size();
  const bool last = !header.more_fragments;
  const bool contradicts =
      piece.empty() || end > kPayloadBytesMax || (!last && piece.size() % kUnitBytes != 0) ||
      (last && datagram->payload_bytes != 0) || (last && datagram->payload.size() > end) ||
      (datagram->payload_bytes != 0 && end > datagram->payload_bytes);
  bool overlaps = false;
  const size_t unit_end = (end + kUnitBytes - 1) / kUnitBytes;
  if (!contradicts) {
    for (size_t unit = start / kUnitBytes; unit < unit_end; ++unit) {
      overlaps = overlaps || datagram->units.test(unit);
    }
  }
  if (contradicts || overlaps) {
    datagrams_.erase(datagram);
    return std::nullopt;
  }

  if (datagram->payload.size() < end) datagram->payload.resize(end);
  std::ranges::copy(piece, datagram->payload.begin() + static_cast<std::ptrdiff_t>(start));
  for (size_t unit = start / kUnitBytes; unit < unit_end; ++unit) datagram->units.set(unit);
  datagram->unit_count += unit_end - start / kUnitBytes;
  if (last) datagram->payload_bytes = end;
  if (datagram->payload_bytes == 0 ||
      datagram->unit_count != (datagram->payload_bytes + kUnitBytes - 1) / kUnitBytes) {
    return std::nullopt;
  }

  Ipv4 whole = datagram->header;
  whole.header_bytes = 20;
  whole.more_fragments = false;
  whole.fragment_offset = 0;
  whole.total_bytes = static_cast<uint16_t>(20 + datagram->payload_bytes);
  whole_.resize(20);
  write_ipv4(whole, whole_.data());
  whole_.insert(whole_.end(), datagram->payload.begin(), datagram->payload.end());
  datagrams_.erase(datagram);
  return whole_;
}

std::vector<std::vector<uint8_t>> fragment_ipv4(std::span<const uint8_t> packet, size_t mtu_bytes) {
  if (packet.size() <= mtu_bytes) return {{packet.begin(), packet.end()}};
  const auto header = parse_ipv4(packet);
  if (!header) return {};
  const auto payload = packet.subspan(20);
  const size_t piece_bytes_max = (mtu_bytes - 20) / 8 * 8;
  std::vector<std::vector<uint8_t>> pieces;
  for (size_t start = 0; start < payload.size(); start += piece_bytes_max) {
    const auto piece = payload.subspan(start, std::min(piece_bytes_max, payload.size() - start));
    Ipv4 head = *header;
    head.header_bytes = 20;
    head.dont_fragment = false;
    head.fragment_offset = static_cast<uint16_t>(start);
    head.more_fragments = start + piece.size() < payload.size();
    head.total_bytes = static_cast<uint16_t>(20 + piece.size());
    std::vector<uint8_t> out(20);
    write_ipv4(head, out.data());
    out.insert(out.end(), piece.begin(), piece.end());
    pieces.push_back(std::move(out));
  }
  return pieces;
}

}  // namespace netstack
