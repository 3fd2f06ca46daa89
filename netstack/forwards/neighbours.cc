#include "netstack/forwards/neighbours.h"

#include <algorithm>
#include <array>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/frame/frame.h"
#include "netstack/wire/arp.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/ndp.h"
#include "netstack/wire/pseudo_header.h"

namespace netstack {

namespace {

constexpr Mac kAllNodesMac{{0x33, 0x33, 0, 0, 0, 1}};
constexpr uint16_t kEchoId = 1;

bool is_first_guest6(const IpAddress& address) {
  return address.v6 && address.octets == IpAddress{}.octets;
}

// fec0::/64, where guests have their global addresses.
bool is_global(const IpAddress& address) {
  return address.v6 && address.octets[0] == 0xfe && (address.octets[1] & 0xc0U) == 0xc0U;
}

void write_head(const Mac& to, const Mac& from, uint16_t ethertype, uint8_t* out) {
  to.write(out);
  from.write(out + 6);
  write_u16(out + 12, ethertype);
}

MacOctets octets_of(const Mac& mac) {
  MacOctets octets{};
  mac.write(octets.data());
  return octets;
}

}  // namespace

std::vector<uint8_t> make_arp_request(const Mac& mac, const IpAddress& own,
                                      const IpAddress& wanted) {
  std::vector<uint8_t> frame(kEthernetHeadBytes + kArpBytes);
  write_head(kBroadcast, mac, kEthertypeArp, frame.data());
  write_arp({.operation = kArpRequest,
             .sender_mac = octets_of(mac),
             .sender_ip = own,
             .target_ip = wanted},
            frame.data() + kEthernetHeadBytes);
  return frame;
}

void Neighbours::watch(const IpAddress& address) {
  ++entries_[address].watch_count;  // asked for at once: ask_at_ns is 0
}

void Neighbours::unwatch(const IpAddress& address) {
  const auto found = entries_.find(address);
  check(found != entries_.end(), "only what is watched is unwatched");
  if (--found->second.watch_count == 0) entries_.erase(found);
}

bool Neighbours::hear_arp(std::span<const uint8_t> message) {
  const auto arp = parse_arp(message);
  if (!arp || arp->sender_ip == IpAddress{}) return false;
  return hear(arp->sender_ip, Mac::read(arp->sender_mac.data()));
}

bool Neighbours::hear(const IpAddress& address, const Mac& mac) {
  bool news = false;
  for (auto& [watched, entry] : entries_) {
    const bool first_guest6 = is_first_guest6(watched) && is_global(address) &&
                              (!entry.place || entry.place->address == address);
    if (watched == address || first_guest6) {
      news |= !entry.place || entry.place->mac != mac;
      entry.place = Place{address, mac};
      entry.doubted_ns = 0;
    } else if (!entry.place && entry.interval_ns != kAskFirst_ns) {
      entry.interval_ns = kAskFirst_ns;  // somebody is there: it may be about to come
      entry.ask_at_ns = std::min(entry.ask_at_ns, clock_.monotonic_ns() + kAskFirst_ns);
    }
  }
  return news;
}

std::optional<Neighbours::Place> Neighbours::find(const IpAddress& address) const {
  const auto found = entries_.find(address);
  return found == entries_.end() ? std::nullopt : found->second.place;
}

void Neighbours::doubt(const IpAddress& address) {
  const auto found = entries_.find(address);
  if (found == entries_.end() || !found->second.place || found->second.doubted_ns != 0) return;
  found->second.doubted_ns = clock_.monotonic_ns();
  ask(found->second.place->address);
}

bool Neighbours::in_doubt(const IpAddress& address) const {
  const auto found = entries_.find(address);
  return found != entries_.end() && found->second.doubted_ns != 0;
}

uint64_t Neighbours::ask_due() {
  const uint64_t now_ns = clock_.monotonic_ns();
  uint64_t next_ns = UINT64_MAX;
  for (auto& [address, entry] : entries_) {
    if (entry.doubted_ns != 0 && now_ns >= entry.doubted_ns + kDoubt_ns) {
      const size_t watch_count = entry.watch_count;
      entry = {};
      entry.watch_count = watch_count;
      entry.ask_at_ns = now_ns + kAskFirst_ns;
    }
    if (entry.doubted_ns != 0) next_ns = std::min(next_ns, entry.doubted_ns + kDoubt_ns);
    if (entry.place) continue;
    if (now_ns >= entry.ask_at_ns) {
      ask(address);
      entry.ask_at_ns = now_ns + entry.interval_ns;
      entry.interval_ns = std::min(entry.interval_ns * 2, kAskRarest_ns);
    }
    next_ns = std::min(next_ns, entry.ask_at_ns);
  }
  return next_ns;
}

void Neighbours::ask(const IpAddress& address) const {
  if (!address.v6) return ask_arp(address);
  is_first_guest6(address) ? ask_all_nodes() : ask_neighbour(address);
}

void Neighbours::ask_arp(const IpAddress& address) const {
  send_(make_arp_request(self_.mac4, self_.address4, address));
}

// For the first IPv6 guest: whoever answers an echo request to all nodes (RFC 4291 §2.7.1) does so
// from the address it would talk to the gateway with.
void Neighbours::ask_all_nodes() const {
  const IpAddress all_nodes = *IpAddress::parse("ff02::1");
  const auto packet =
      make_icmp_echo(self_.address6, all_nodes, kNdpHopLimit, false, kEchoId, 0, {});
  std::vector<uint8_t> frame(kEthernetHeadBytes);
  write_head(kAllNodesMac, self_.mac6, kEthertypeIpv6, frame.data());
  frame.insert(frame.end(), packet.begin(), packet.end());
  send_(frame);
}

// To the solicited-node group of the address, RFC 4861 §7.2.2 and RFC 4291 §2.7.1.
void Neighbours::ask_neighbour(const IpAddress& address) const {
  constexpr size_t kMessageBytes = kNdpHeadBytes + kNdpLinkLayerOptionBytes;
  constexpr size_t kMessageAt = kEthernetHeadBytes + kIpv6HeadBytes;
  IpAddress group = *IpAddress::parse("ff02::1:ff00:0");
  std::copy_n(&address.octets[13], 3, &group.octets[13]);
  const Mac group_mac{{0x33, 0x33, 0xff, group.octets[13], group.octets[14], group.octets[15]}};

  std::array<uint8_t, kMessageAt + kMessageBytes> frame{};
  write_head(group_mac, self_.mac6, kEthertypeIpv6, frame.data());
  write_ipv6({.payload_bytes = kMessageBytes,
              .next_header = kProtocolIcmpv6,
              .hop_limit = kNdpHopLimit,
              .source = self_.address6,
              .destination = group},
             frame.data() + kEthernetHeadBytes);
  const std::span<uint8_t> message = std::span(frame).subspan(kMessageAt);
  write_ndp({.target = address, .link_layer = octets_of(self_.mac6)}, message.data());
  write_u16(&message[2], transport_checksum(self_.address6, group, kProtocolIcmpv6, message));
  send_(frame);
}

}  // namespace netstack
