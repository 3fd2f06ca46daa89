#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/frame/mac.h"
#include "netstack/wire/ip_address.h"
#include "netstack/wire/udp.h"

namespace netstack {

// The gateway's own name in the guests' domain.
constexpr std::string_view kGatewayName = "gateway";

// A name that the gateway's DNS answers by itself: "db=10.0.2.20", "mirror.example.org=fec0::2". A
// name without a dot is known with the domain behind it as well. One name may have several
// addresses.
struct HostEntry {
  std::string name;  // lower case
  IpAddress address;

  static HostEntry parse(std::string_view text);  // throws Error
};

// The address that one guest always gets: "52:54:00:12:34:56=10.0.2.9".
struct StaticLease {
  Mac mac;
  IpAddress address;  // IPv4, of the guests' network, not the gateway's nor the nameserver's

  static StaticLease parse(std::string_view text);  // throws Error
};

// A nameserver to ask, and where it was named.
struct DnsServer {
  IpAddress address;
  uint16_t port = kPortDns;
  std::string scope;   // interface of a link-local address; often empty
  std::string origin;  // "/etc/resolv.conf", "--zone corp.example"

  bool operator==(const DnsServer&) const = default;
};
std::string to_string(const DnsServer& server);  // "192.0.2.1", "127.0.0.1 port 8600"

// Names that another server is asked for: "corp.example=192.0.2.53", "consul=127.0.0.1:8600",
// ".=[fd00::1]:53" for all names. The address is the host's to reach, so 127.0.0.1 is the host.
// The longest suffix that fits counts; servers of one suffix take each other's place.
struct DnsZone {
  std::string suffix;  // lower case, without dots around it; "." for all
  DnsServer server;

  static DnsZone parse(std::string_view text);  // throws Error
};

// What guests are told of names, and which the gateway knows.
struct NamesConfig {
  static constexpr size_t kSearchBytesMax = 255;  // on the wire: one DHCP option
  static constexpr uint16_t kMtuMin = 576;        // every IPv4 host takes that much, RFC 791
  static constexpr uint16_t kMtuMax = 65'521;     // libslirp's
  static constexpr uint32_t kLeaseSecondsMin = 60;

  std::string domain = "lan";       // the guests' own; empty: none
  std::vector<std::string> search;  // search domains behind it
  std::vector<HostEntry> hosts;
  std::vector<StaticLease> leases;
  std::vector<DnsZone> zones;
  uint16_t mtu = 0;  // told to the guests, and the limit of frames to them; 0: 1500, not told
  uint32_t lease_seconds = 86'400;

  // A domain in lower case, "" for none. `option` is what the error names. Throws Error.
  static std::string parse_domain(std::string_view text, std::string_view option = "--domain");
  static uint16_t parse_mtu(std::string_view text);  // throws Error

  std::vector<uint8_t> search_wire() const;  // domain and search domains as in DNS
};

}  // namespace netstack
