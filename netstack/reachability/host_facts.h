#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/wire/ip_address.h"

namespace netstack {

class RouteQuery;

struct InterfaceAddress {
  IpAddress address;
  uint8_t prefix_bits = 0;
  bool link_scope = false;  // valid on this link only (fe80::/10, 169.254.0.0/16 by scope)
};

struct LinkFact {
  std::string name;  // printable: other characters are '?'
  int index = 0;
  bool loopback = false;
  bool up = false;       // administratively (IFF_UP)
  bool carrier = false;  // IFF_RUNNING: RFC 2863 operational state
  bool tunnel = false;   // a tunnel device such as "sit0", which Linux adds to new namespaces
  std::vector<InterfaceAddress> addresses;
};

// What the kernel knows of a next hop (NUD states, rtnetlink(7)).
enum class Neighbour : uint8_t {
  kUnknown,  // it has not been asked for, or needs no asking
  kAnswers,
  kAsked,  // now, without an answer so far
  kDead,   // it was asked and did not answer
};

// What the kernel would do with a packet for one destination.
struct RouteFact {
  bool known = false;   // false: the kernel could not be asked; nothing else counts
  int errno_value = 0;  // 0: there is a route. rtnetlink's answer otherwise: ENETUNREACH none or
                        // throw, EHOSTUNREACH unreachable, EACCES prohibit, EINVAL blackhole
  std::string link;     // where a packet would leave
  int link_index = 0;
  std::optional<IpAddress> router;  // next hop; nothing: on the link itself
  std::string refusing_route;       // "prohibit 8.8.8.0/24"; empty: a rule, or none was found
  std::string refusing_rule;        // "100: to 8.8.8.8/32 prohibit", where no route refuses
  bool carrier = true;              // of `link`
  uint32_t mtu = 0;  // bytes of an IP packet: the route's, else the link's; 0: unknown
  Neighbour neighbour = Neighbour::kUnknown;  // the next hop; only in gather_facts()
};

// net.ipv4.ping_group_range, for IPv6 ping sockets as well.
struct GroupRange {
  uint32_t low = 1;
  uint32_t high = 0;  // below `low`: nobody
};

struct PingFacts {
  int socket4_errno = 0;  // of opening a ping socket just now; 0: permitted
  int socket6_errno = 0;
  std::optional<GroupRange> range;  // nothing: the file cannot be read
  std::vector<uint32_t> groups;     // effective group first, then the supplementary ones
  bool every_group_mapped = true;   // false in a user namespace that maps only some group ids
};

// A Nix build leaves these signs in its environment.
struct NixFacts {
  bool build_top = false;       // NIX_BUILD_TOP is set
  bool sandbox_home = false;    // NIX_STORE is set and HOME is /homeless-shelter
  bool output_checked = false;  // NIX_OUTPUT_CHECKED is set: a fixed-output build
};

// Programs are told to leave by a proxy.
struct ProxyFact {
  std::string variable;  // "https_proxy"; empty: none is set
  std::string server;    // host and port, without a password that the variable may hold
  bool local = false;    // on this host's loopback
};

struct Nameserver {
  IpAddress address;
  std::string scope;  // interface of a link-local address, "eth0" of fe80::1%eth0; often empty

  bool operator==(const Nameserver&) const = default;
};

struct ResolverFacts {
  std::string path;
  int errno_value = 0;  // of reading it
  std::vector<Nameserver> nameservers;
};

// Everything the judgement of one destination rests on, read at one time.
struct HostFacts {
  IpAddress destination;
  RouteFact route;         // to the destination
  RouteFact other_family;  // to an address of the Internet of the other IP version
  bool links_known = false;
  std::vector<LinkFact> links;
  PingFacts ping;
  NixFacts nix;
  ProxyFact proxy;
  uint64_t descriptors_max = 0;  // this process may have open
  ResolverFacts resolver;
};

// Where facts that do not come by rtnetlink are read. Tests put their own in.
struct HostSources {
  std::string resolv_conf = "/etc/resolv.conf";
  std::string ping_group_range = "/proc/sys/net/ipv4/ping_group_range";
  std::string gid_map = "/proc/self/gid_map";
  std::function<const char*(const char*)> environment = {};  // empty: getenv()
};

// Addresses that stand for "the Internet". Only routes to them are looked up: nothing is sent.
IpAddress internet_example(bool v6);

// resolv.conf(5) counts this many `nameserver` lines and no more.
constexpr size_t kNameserverCountMax = 3;
constexpr size_t kResolvConfSizeMax = 64 * 1024;

// The nameservers of a resolv.conf. Lines that are not understood are passed over, as the C
// library does.
std::vector<Nameserver> parse_resolv_conf(std::string_view text);
std::optional<GroupRange> parse_group_range(std::string_view text);  // "0\t2147483647\n"
bool maps_every_group(std::string_view gid_map);                     // of /proc/self/gid_map

ProxyFact parse_proxy(std::string_view variable, std::string_view value);

ResolverFacts gather_resolver(const HostSources& sources);
PingFacts gather_ping(const HostSources& sources);
HostFacts gather_facts(RouteQuery& query, const HostSources& sources, const IpAddress& destination);

}  // namespace netstack
