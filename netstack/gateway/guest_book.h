#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <span>

#include "netstack/base/clock.h"
#include "netstack/config/gateway_config.h"
#include "netstack/flows/guest_packet.h"
#include "netstack/frame/frame.h"

namespace netstack {

// What guests show of themselves to the gateway, for those who look for what is wrong in a LAN: it
// decides nothing. How it learns, and what that costs, is told in guest_book.cc.
class GuestBook {
 public:
  static constexpr size_t kGuestsMax = 1024;  // then the one noted longest ago makes room
  static constexpr size_t kClaimsMax = 2048;  // likewise

  // How often something was seen, and when last (Clock::monotonic_ns).
  struct Sign {
    uint64_t count = 0;
    uint64_t last_ns = 0;
  };
  // One sender, by the source address of its frames.
  struct Guest {
    Mac mac;
    Sign heard;     // of anything below, and of claims
    Sign dhcp;      // messages to a DHCP server (IPv4)
    Sign declined;  // leases, because another machine has the address
    IpAddress declined_address;
    Sign off_subnet;
    IpAddress off_subnet_address;  // it asked by ARP where that is, which is beyond the network
    Sign tagged;                   // frames in a VLAN, which the gateway is not in
    Sign tagged_for_us;            // of them, those meant for the gateway
    uint16_t tagged_vid = 0;       // of the last ones
    uint16_t tagged_for_us_vid = 0;
    Sign foreign;  // packets from an address that is not of the guests' networks
    IpAddress foreign_address;
    Sign oversized;  // frames longer than the MTU that guests are told
    uint32_t oversized_bytes = 0;
  };
  // Who says that an address is his own (ARP, neighbour discovery).
  struct Claim {
    IpAddress address;
    Mac mac;
    uint64_t heard_ns = 0;
    // With changes: who claimed it before, and when that was heard last.
    uint64_t change_count = 0;
    uint64_t changed_ns = 0;
    Mac rival;
    uint64_t rival_ns = 0;
  };

  // `mtu`: of the guests' IP packets; 0: 1500.
  GuestBook(Clock& clock, const GatewayNetwork& network, const Mac& own_mac, size_t mtu);

  void hear_arp(std::span<const uint8_t> frame);  // an untagged ARP frame of a guest
  void hear(const GuestPacket& packet, bool of_our_networks);
  void note_tagged(const Frame& frame);  // its VID is not 0
  void watch_size(const Frame& frame) {
    if (frame.bytes > frame_bytes_max_ && !frame.offload.is_super_frame()) note_oversized(frame);
  }

  const std::list<Guest>& guests() const { return guests_.records; }  // noted longest ago first
  const std::list<Claim>& claims() const { return claims_.records; }  // likewise
  const Mac& own_mac() const { return own_mac_; }
  size_t mtu() const { return mtu_; }

 private:
  template <typename Key, typename Record>
  struct Table {
    std::list<Record> records;
    std::map<Key, typename std::list<Record>::iterator> by_key;
  };

  Guest& guest_of(const Mac& mac);
  void note(Guest& guest, Sign& sign);
  void claim(const IpAddress& address, const Mac& mac);
  void hear_discovery(const GuestPacket& packet);
  void hear_dhcp(const GuestPacket& packet);
  void note_oversized(const Frame& frame);
  bool is_for_us(const Frame& frame) const;

  Clock& clock_;
  GatewayNetwork network_;
  Mac own_mac_;
  size_t mtu_;
  uint32_t frame_bytes_max_;
  Table<Mac, Guest> guests_;
  Table<IpAddress, Claim> claims_;
};

}  // namespace netstack
