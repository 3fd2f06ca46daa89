#include "netstack/wire/ndp.h"

#include <cstring>

#include "netstack/base/check.h"
#include "netstack/wire/icmp.h"

namespace netstack {

namespace {

constexpr uint8_t kFlagRouter = 0x80;
constexpr uint8_t kFlagSolicited = 0x40;
constexpr uint8_t kFlagOverride = 0x20;

constexpr uint8_t kOptionSourceLinkLayer = 1;
constexpr uint8_t kOptionTargetLinkLayer = 2;
constexpr size_t kOptionUnitBytes = 8;

uint8_t link_layer_option(bool advertisement) {
  return advertisement ? kOptionTargetLinkLayer : kOptionSourceLinkLayer;
}

// Reads the options into `ndp`. Every option takes at least kOptionUnitBytes, so the walk ends.
bool read_options(std::span<const uint8_t> options, Ndp& ndp) {
  while (!options.empty()) {
    if (options.size() < kOptionUnitBytes) return false;
    const size_t bytes = options[1] * kOptionUnitBytes;
    if (bytes == 0 || bytes > options.size()) return false;
    if (options[0] == link_layer_option(ndp.advertisement) && bytes == kNdpLinkLayerOptionBytes) {
      std::memcpy(ndp.link_layer.emplace().data(), &options[2], sizeof(MacOctets));
    }
    options = options.subspan(bytes);
  }
  return true;
}

}  // namespace

std::optional<Ndp> parse_ndp(std::span<const uint8_t> message) {
  if (message.size() < kNdpHeadBytes || message[1] != 0) return std::nullopt;
  if (message[0] != kIcmpv6NeighbourSolicitation && message[0] != kIcmpv6NeighbourAdvertisement) {
    return std::nullopt;
  }
  Ndp ndp;
  ndp.advertisement = message[0] == kIcmpv6NeighbourAdvertisement;
  ndp.from_router = ndp.advertisement && (message[4] & kFlagRouter) != 0;
  ndp.solicited = ndp.advertisement && (message[4] & kFlagSolicited) != 0;
  ndp.overriding = ndp.advertisement && (message[4] & kFlagOverride) != 0;
  ndp.target = IpAddress::read_v6(&message[8]);
  if (ndp.target.is_multicast()) return std::nullopt;
  if (!read_options(message.subspan(kNdpHeadBytes), ndp)) return std::nullopt;
  return ndp;
}

size_t write_ndp(const Ndp& ndp, uint8_t* out) {
  check(ndp.target.v6, "NDP resolves IPv6 addresses");
  std::memset(out, 0, kNdpHeadBytes);
  out[0] = ndp.advertisement ? kIcmpv6NeighbourAdvertisement : kIcmpv6NeighbourSolicitation;
  if (ndp.advertisement) {
    out[4] = static_cast<uint8_t>((ndp.from_router ? kFlagRouter : 0) |
                                  (ndp.solicited ? kFlagSolicited : 0) |
                                  (ndp.overriding ? kFlagOverride : 0));
  }
  std::memcpy(out + 8, ndp.target.octets.data(), 16);
  if (!ndp.link_layer) return kNdpHeadBytes;

  uint8_t* option = out + kNdpHeadBytes;
  option[0] = link_layer_option(ndp.advertisement);
  option[1] = kNdpLinkLayerOptionBytes / kOptionUnitBytes;
  std::memcpy(option + 2, ndp.link_layer->data(), ndp.link_layer->size());
  return kNdpHeadBytes + kNdpLinkLayerOptionBytes;
}

}  // namespace netstack
