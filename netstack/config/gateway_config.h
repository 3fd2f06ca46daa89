#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/config/guest_forward.h"
#include "netstack/config/host_forward.h"
#include "netstack/config/names_config.h"
#include "netstack/config/policy_rule.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// The guests' networks. IPv4, with the default 10.0.2.0/24:
//
//   10.0.2.2   gateway; stands for the host's loopback
//   10.0.2.3   DNS: names of the LAN, and those the nameservers of resolv.conf know
//   10.0.2.15  first lease; the others follow up to 10.0.2.254, and what is below is left to
//              addresses set by hand
//
// The three host numbers can be chosen. IPv6 is fec0::/64 with gateway fec0::2 and DNS fec0::3, as
// QEMU's own user network has it.
struct GatewayNetwork {
  static constexpr uint32_t kLeases_count = 16;  // at least; QEMU and slirpvde have that many

  IpAddress network = IpAddress::v4(0x0a000200);
  uint8_t prefix_bits = 24;
  uint32_t gateway_number = 2;
  uint32_t nameserver_number = 3;
  uint32_t first_lease_number = 15;
  // A resolver outside the network: leases name it and nothing here answers in its name. Empty: the
  // nameserver is host nameserver_number.
  std::optional<IpAddress> nameserver_elsewhere;

  // "10.0.2.0/24". Throws Error unless it is an IPv4 network of /8 to /27 with no host bits set.
  static GatewayNetwork parse(std::string_view cidr);

  // Why these numbers cannot be: two are the same, one is no host of the network, or, with
  // `leasing`, a lease would be the gateway's or the nameserver's address. Empty: they can.
  std::string wrong_numbers(bool leasing) const;

  uint32_t netmask() const { return 0xffff'ffffU << (32U - prefix_bits); }
  IpAddress host(uint32_t number) const { return IpAddress::v4(network.v4_bits() + number); }
  IpAddress gateway() const { return host(gateway_number); }
  IpAddress nameserver() const { return nameserver_elsewhere.value_or(host(nameserver_number)); }
  IpAddress first_lease() const { return host(first_lease_number); }
  bool contains(const IpAddress& address) const {
    return !address.v6 && (address.v4_bits() & netmask()) == network.v4_bits();
  }
  bool is_broadcast(const IpAddress& address) const {
    return !address.v6 && (address.v4_bits() == 0xffff'ffffU ||
                           address.v4_bits() == (network.v4_bits() | ~netmask()));
  }

  static IpAddress prefix6();      // fec0::
  static IpAddress gateway6();     // fec0::2
  static IpAddress nameserver6();  // fec0::3
  static constexpr uint8_t kPrefix6Bits = 64;
};

struct GatewayConfig {
  GatewayNetwork network;
  bool dhcp = true;  // lease addresses
  bool ipv6 = true;  // be an IPv6 router too, and announce it
  std::vector<HostForward> forwards;
  std::vector<GuestForward> guest_forwards;
  NamesConfig names;
  PolicyConfig policy;
  std::string resolv_conf =
      "/etc/resolv.conf";  // names the host's nameservers; read when it changes

  // Static leases, and the addresses of guest forwards as if they were leased to nobody.
  std::vector<StaticLease> reserved_leases() const;
  // Throws Error when one leads out of the guests' networks, or cannot be carried.
  void check_forwards() const;
  void check_forward(const HostForward& forward) const;
  void check_names() const;  // throws Error when a static lease or the search list cannot be
};

}  // namespace netstack
