// Theory. Most of what keeps a guest from the network on its own side shows in frames that reach
// the gateway anyway: whom a guest looks for by ARP, which address it says is its own, whether it
// ever asks for a lease, in which VLAN it speaks. So the gateway keeps a book of that, and whoever
// examines the LAN reads it (GET /guests).
//
//   ARP request       the sender claims its address · a target beyond the network: no default route
//   NDP               a solicitation's source, an advertisement's target, and the target of a
//                     solicitation from "::" (duplicate address detection) are claimed
//   UDP to port 67    asks for a lease, or declines one: the guest found its address taken
//   a VID             is in a VLAN; asks for us there: ARP for our address, DHCP, a frame to us
//   a foreign source  has an address of another network
//   a long frame      was not told the MTU, or does not keep to it
//
// Unicast between two guests is not seen, and need not be: an address in use is asked for and told
// by broadcast now and then, and two machines that use one address both do so.
//
// Cost: data frames pay a comparison. Control frames (ARP, neighbour discovery, DHCP), and those
// that go no further than here, pay one or two lookups in maps of bounded size. A guest that
// invents addresses can push others' records out of the book; it cannot harm anything else.
//
// Refused: a mirror on the switch, which would see everything and cost every frame a look.

#include "netstack/gateway/guest_book.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "netstack/base/bytes.h"
#include "netstack/wire/arp.h"
#include "netstack/wire/dhcp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ndp.h"
#include "netstack/wire/udp.h"

namespace netstack {

namespace {

constexpr size_t kMtuDefault = 1500;
constexpr size_t kPeek_size = kIpv4HeadBytes + kUdpHeadBytes;  // enough for ARP, too
static_assert(kPeek_size >= kArpBytes);

// 169.254.0.0/16, RFC 3927: such a guest looks for others like it on the link itself.
bool is_link_local4(const IpAddress& address) {
  return !address.v6 && address.octets[0] == 169 && address.octets[1] == 254;
}

bool is_unspecified(const IpAddress& address) {
  return std::ranges::all_of(address.octets, [](uint8_t octet) { return octet == 0; });
}

// The first bytes behind the head; returns how many there are.
size_t peek(const Frame& frame, std::span<uint8_t, kPeek_size> out) {
  size_t size = 0;
  for (const iovec& part : frame.body) {
    const size_t take = std::min(part.iov_len, out.size() - size);
    if (take == 0) continue;
    std::memcpy(out.data() + size, part.iov_base, take);
    size += take;
  }
  return size;
}

// The record of a key, moved to the end of the list; a new one takes the place of the first when
// there are `count_max`.
template <typename Table, typename Key, typename Record>
Record& record_of(Table& table, const Key& key, const Record& fresh, Key Record::*key_member,
                  size_t count_max) {
  auto& [records, by_key] = table;
  if (const auto at = by_key.find(key); at != by_key.end()) {
    records.splice(records.end(), records, at->second);
    return records.back();
  }
  if (records.size() == count_max) {
    by_key.erase(records.front().*key_member);
    records.pop_front();
  }
  records.push_back(fresh);
  by_key.emplace(key, std::prev(records.end()));
  return records.back();
}

}  // namespace

GuestBook::GuestBook(Clock& clock, const GatewayNetwork& network, const Mac& own_mac, size_t mtu)
    : clock_(clock),
      network_(network),
      own_mac_(own_mac),
      mtu_(mtu != 0 ? mtu : kMtuDefault),
      frame_bytes_max_(static_cast<uint32_t>(mtu_ + kTaggedHeadBytes)) {}

GuestBook::Guest& GuestBook::guest_of(const Mac& mac) {
  Guest fresh;
  fresh.mac = mac;
  return record_of(guests_, mac, fresh, &Guest::mac, kGuestsMax);
}

void GuestBook::note(Guest& guest, Sign& sign) {
  const uint64_t now_ns = clock_.monotonic_ns();
  guest.heard = {guest.heard.count + 1, now_ns};
  if (&sign != &guest.heard) sign = {sign.count + 1, now_ns};
}

void GuestBook::claim(const IpAddress& address, const Mac& mac) {
  if (is_unspecified(address) || mac.is_group()) return;
  const uint64_t now_ns = clock_.monotonic_ns();
  const bool own = address == network_.gateway() ||
                   (address == network_.nameserver() && !network_.nameserver_elsewhere);
  Claim fresh;
  fresh.address = address;
  fresh.mac = own ? own_mac_ : mac;
  fresh.heard_ns = now_ns;
  Claim& claim = record_of(claims_, address, fresh, &Claim::address, kClaimsMax);
  if (claim.mac != mac) {
    claim.rival = claim.mac;
    claim.rival_ns = own ? now_ns : claim.heard_ns;
    claim.mac = mac;
    ++claim.change_count;
    claim.changed_ns = now_ns;
  } else if (own) {  // ours, and the guest says it again
    ++claim.change_count;
    claim.changed_ns = claim.rival_ns = now_ns;
  }
  claim.heard_ns = now_ns;
}

void GuestBook::hear_arp(std::span<const uint8_t> frame) {
  const auto arp = parse_arp(frame.subspan(kEthernetHeadBytes));
  if (!arp) return;
  Guest& guest = guest_of(Mac::read(&frame[6]));
  note(guest, guest.heard);
  claim(arp->sender_ip, Mac{arp->sender_mac});
  const bool looks_beyond = arp->operation == kArpRequest && network_.contains(arp->sender_ip) &&
                            !network_.contains(arp->target_ip) && !is_link_local4(arp->target_ip) &&
                            !is_unspecified(arp->target_ip);
  if (!looks_beyond) return;
  note(guest, guest.off_subnet);
  guest.off_subnet_address = arp->target_ip;
}

void GuestBook::hear(const GuestPacket& packet, bool of_our_networks) {
  if (!of_our_networks) {
    Guest& guest = guest_of(packet.path.guest);
    note(guest, guest.foreign);
    guest.foreign_address = packet.source;
  } else if (packet.protocol == kProtocolIcmpv6 && packet.v6()) {
    hear_discovery(packet);
  } else if (packet.protocol == kProtocolUdp && !packet.v6() && !packet.fragment &&
             packet.transport.size() >= kUdpHeadBytes &&
             read_u16(&packet.transport[2]) == kPortDhcpServer) {
    hear_dhcp(packet);
  }
}

void GuestBook::hear_dhcp(const GuestPacket& packet) {
  Guest& guest = guest_of(packet.path.guest);
  note(guest, guest.dhcp);
  const auto dhcp = parse_dhcp(packet.transport.subspan(kUdpHeadBytes));
  if (!dhcp || dhcp->from_server || dhcp->type != DhcpType::kDecline || !dhcp->requested_ip) return;
  note(guest, guest.declined);
  guest.declined_address = *dhcp->requested_ip;
}

void GuestBook::hear_discovery(const GuestPacket& packet) {
  if (packet.hop_limit != kNdpHopLimit) return;
  const auto ndp = parse_ndp(packet.transport);
  if (!ndp) return;
  Guest& guest = guest_of(packet.path.guest);
  note(guest, guest.heard);
  const Mac mac = ndp->link_layer ? Mac{*ndp->link_layer} : packet.path.guest;
  const bool claims_target = ndp->advertisement || is_unspecified(packet.source);
  claim(claims_target ? ndp->target : packet.source, mac);
}

void GuestBook::note_oversized(const Frame& frame) {
  Guest& guest = guest_of(frame.source());
  note(guest, guest.oversized);
  guest.oversized_bytes = std::max(guest.oversized_bytes, frame.bytes);
}

void GuestBook::note_tagged(const Frame& frame) {
  Guest& guest = guest_of(frame.source());
  note(guest, guest.tagged);
  guest.tagged_vid = frame.vid();
  if (!is_for_us(frame)) return;
  note(guest, guest.tagged_for_us);
  guest.tagged_for_us_vid = frame.vid();
}

// Whoever asks for the gateway's address, or for a lease, or sends to the gateway's own MAC.
bool GuestBook::is_for_us(const Frame& frame) const {
  if (!frame.destination().is_group()) return true;  // the gateway looks at no others' frames
  std::array<uint8_t, kPeek_size> bytes{};
  const size_t size = peek(frame, bytes);
  if (frame.ethertype() == kEthertypeArp) {
    const auto arp = parse_arp({bytes.data(), size});
    return arp && (arp->target_ip == network_.gateway() || arp->target_ip == network_.nameserver());
  }
  constexpr uint8_t kVersionAndPlainLength = 0x45;  // a DHCP client sends no IP options
  return frame.ethertype() == kEthertypeIpv4 && size == kPeek_size &&
         bytes[0] == kVersionAndPlainLength && bytes[9] == kProtocolUdp &&
         read_u16(&bytes[kIpv4HeadBytes + 2]) == kPortDhcpServer;
}

}  // namespace netstack
