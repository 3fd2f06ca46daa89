#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/config/gateway_config.h"
#include "netstack/names/lease_table.h"

namespace netstack {

// What the gateway itself knows of a name.
struct LocalAnswer {
  uint8_t rcode = 0;                 // kDnsNoError or kDnsNameError
  std::string zone;                  // whose SOA says that there is nothing; "" for none
  std::vector<IpAddress> addresses;  // of the type that was asked for
  std::vector<std::string> names;    // of a PTR question
};

// The names of the LAN, in the order in which they count:
//
//   --host entries (with and, if they have no dot, without the domain) · the gateway's own name ·
//   the guests' host names as their leases have them
//
// The domain is the LAN's own: what is not found there does not exist, and is asked of nobody, so
// that names inside the LAN never leave it and a test without network gets the same answer as one
// with. A zone for the domain (--zone lan=SERVER) opens it again. A name without a dot that nobody
// here has is the nameserver's to answer. The reverse names of the guests' network are the LAN's
// own as well (RFC 6303).
class LanNames {
 public:
  LanNames(const GatewayConfig& config, const LeaseTable& leases);

  // `name` in lower case without a trailing dot, `type` as in the question. Nothing: not ours to
  // answer.
  std::optional<LocalAnswer> lookup(std::string_view name, uint16_t type, uint64_t now_ns) const;

  // The servers of the longest --zone suffix that fits. Empty: those of resolv.conf.
  std::vector<DnsServer> zone_servers(std::string_view name) const;

 private:
  std::vector<IpAddress> addresses_of(std::string_view name, uint64_t now_ns) const;
  std::vector<std::string> names_of(const IpAddress& address, uint64_t now_ns) const;
  std::optional<LocalAnswer> lookup_reverse(const IpAddress& address, uint16_t type,
                                            uint64_t now_ns) const;
  std::string with_domain(std::string_view name) const;

  GatewayNetwork network_;
  bool ipv6_;
  NamesConfig names_;
  const LeaseTable& leases_;
};

}  // namespace netstack
