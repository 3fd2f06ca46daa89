#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/frame/frame.h"
#include "netstack/wire/arp.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/ndp.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"

// Frames for tests: made field by field, judged field by field.
//
//   Builder().eth(kGuest, kGateway).tag(42).ip("10.0.2.15", "8.8.8.8").udp(1024, 53).payload("x")
//     .build()          ──► bytes
//   parse_frame(bytes)  ──► fields, each there or not
//   describe(bytes)     ──► one line for a failed assertion
namespace packets {

using Bytes = std::vector<uint8_t>;

// Addresses from text; bad text is a bug in the test and aborts it.
netstack::Mac mac(std::string_view text);
netstack::IpAddress ip(std::string_view text);

// Calls go from the outside of a frame to its inside. Lengths and checksums are filled in by
// build(), rightly unless a call here asks for something else.
class Builder {
 public:
  Builder& eth(const netstack::Mac& source, const netstack::Mac& destination);
  Builder& eth(std::string_view source, std::string_view destination);
  Builder& tag(uint16_t vid, uint8_t pcp = 0, uint16_t tpid = netstack::kEthertypeVlan);
  Builder& ethertype(uint16_t type);  // of a payload no other call describes

  Builder& arp_request(std::string_view sender_ip, std::string_view target_ip);
  Builder& arp_reply(std::string_view sender_ip, std::string_view target_ip);

  // Either family, by the text. ipv4() and ipv6() say which one a test means.
  Builder& ip(const netstack::IpAddress& source, const netstack::IpAddress& destination);
  Builder& ip(std::string_view source, std::string_view destination);
  Builder& ipv4(std::string_view source, std::string_view destination);
  Builder& ipv6(std::string_view source, std::string_view destination);
  Builder& ttl(uint8_t ttl);  // or hop limit
  Builder& protocol(uint8_t protocol);
  Builder& fragment(uint16_t offset, bool more);  // IPv4 only; offset in bytes

  Builder& udp(uint16_t source_port, uint16_t destination_port);
  Builder& tcp(uint16_t source_port, uint16_t destination_port, uint8_t flags, uint32_t seq = 0,
               uint32_t ack = 0);
  Builder& urgent(uint16_t pointer);  // of tcp(); sets URG as well
  Builder& echo_request(uint16_t id, uint16_t seq);
  Builder& echo_reply(uint16_t id, uint16_t seq);
  Builder& neighbour_solicitation(std::string_view target);  // with eth()'s source as an option
  Builder& neighbour_advertisement(std::string_view target);

  Builder& payload(std::string_view text);
  Builder& payload(std::span<const uint8_t> bytes);
  Builder& payload_bytes(size_t size);                  // a counting pattern of that size
  Builder& ip_packet(std::span<const uint8_t> packet);  // a whole one, in place of ip() and on

  Builder& wrong_checksum();    // of the transport
  Builder& partial_checksum();  // of UDP and TCP: the pseudo-header's sum, as offload leaves it
  Builder& pad_to(size_t frame_bytes);

  Bytes build() const;
  Bytes build_ip() const;  // without the Ethernet header

 private:
  enum class ChecksumKind : uint8_t { kRight, kWrong, kPartial };

  Builder& arp(uint16_t operation, std::string_view sender_ip, std::string_view target_ip);
  Builder& echo(bool reply, uint16_t id, uint16_t seq);
  Builder& neighbour(netstack::Ndp ndp);
  Bytes segment() const;
  void fill_checksum(Bytes& segment) const;
  Bytes network_layer() const;

  netstack::Mac source_;
  netstack::Mac destination_ = netstack::kBroadcast;
  Bytes tags_;
  uint16_t ethertype_ = 0;
  std::optional<netstack::Ipv4> ipv4_;
  std::optional<netstack::Ipv6> ipv6_;
  Bytes transport_head_;  // with a checksum of zero
  std::optional<size_t> checksum_at_;
  ChecksumKind checksum_kind_ = ChecksumKind::kRight;
  Bytes payload_;
  size_t pad_to_ = 0;
};

struct Eth {
  netstack::Mac source;
  netstack::Mac destination;
  uint16_t ethertype = 0;  // behind the tags
};

struct Tag {
  uint16_t tpid = 0;
  uint8_t pcp = 0;
  bool dei = false;
  uint16_t vid = 0;
};

struct Icmp {
  uint8_t type = 0;
  uint8_t code = 0;
  uint32_t rest = 0;               // the second word
  std::span<const uint8_t> quote;  // what follows it: in an error, the offending packet
  std::optional<netstack::IcmpEcho> echo;
  std::optional<netstack::Ndp> ndp;
};

// What a frame turned out to hold. Views point into the parsed bytes.
struct Parsed {
  std::optional<Eth> eth;
  std::optional<Tag> tag;        // the outer one
  std::optional<Tag> inner_tag;  // 802.1ad and other stacks of two
  std::optional<netstack::Arp> arp;
  std::optional<netstack::Ipv4> ipv4;
  std::optional<netstack::Ipv6> ipv6;
  std::optional<Icmp> icmp;  // of either family
  std::optional<netstack::Udp> udp;
  std::optional<netstack::Tcp> tcp;
  bool transport_checksum_valid = false;  // of icmp, udp or tcp; false in a fragment

  netstack::IpAddress source() const;  // of whichever IP header there is
  netstack::IpAddress destination() const;
  std::string_view text() const;  // the payload of udp, tcp or an echo; empty without one
};

Parsed parse_frame(std::span<const uint8_t> frame);
Parsed parse_ip(std::span<const uint8_t> packet);  // from the IP header on; eth stays empty

// "52:54:00:00:00:01 → ff:ff:ff:ff:ff:ff vlan 42 arp who-has 10.0.2.2 tell 10.0.2.15"
std::string describe(std::span<const uint8_t> frame);
std::string describe(std::span<const Bytes> frames);  // one line each

}  // namespace packets
