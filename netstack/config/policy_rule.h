#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/wire/ip_address.h"

namespace netstack {

// One rule of the policy: [PROTOCOL:]DESTINATION[:PORT[-PORT]].
//
//   any                          everything
//   10.0.0.0/8, 192.0.2.1        every protocol to these addresses
//   tcp:example.org:443          TCP to port 443 of what the guest looked up as example.org
//   udp:*.example.org            UDP to any port of any name that ends in .example.org
//   any:8000-8099                TCP and UDP to these ports anywhere
//   icmp:[2001:db8::]/32         echo; an IPv6 address stands in brackets when a port follows
//   dns:example.org              the question alone, whatever becomes of connections
struct PolicyRule {
  enum class Action : uint8_t { kAllow, kDeny };
  enum class Matter : uint8_t { kAny, kTcp, kUdp, kEcho, kQuestion };
  enum class Place : uint8_t { kAnywhere, kNetwork, kName, kSuffix };

  Action action = Action::kAllow;
  Matter matter = Matter::kAny;
  Place place = Place::kAnywhere;
  IpAddress network;        // of kNetwork
  uint8_t prefix_bits = 0;  // of kNetwork
  std::string name;         // of kName; of kSuffix what stands behind "*."; lower case
  uint16_t port_first = 0;  // 0: every port, and echo
  uint16_t port_last = 0;

  static PolicyRule parse(Action action, std::string_view text);  // throws Error
  bool contains(const IpAddress& address) const;                  // of kNetwork
  // Rules of a file, one a line; empty lines and what follows a # count for nothing. Throws Error.
  static std::vector<PolicyRule> parse_file(Action action, const std::string& path);

  bool operator==(const PolicyRule&) const = default;
};
std::string to_string(const PolicyRule& rule);  // as parse() takes it: "tcp:example.org:443"
std::string described(const PolicyRule& rule);  // "allow tcp:example.org:443"
std::string_view action_name(PolicyRule::Action action);  // "allow", "deny"

// Whether every packet and question that `other` fits is one that `rule` fits as well.
bool covers(const PolicyRule& rule, const PolicyRule& other);

struct PolicyConfig {
  std::vector<PolicyRule> rules;  // the first that fits decides
  bool allow_list = false;        // what no rule fits is denied; so it is with any allow rule
  bool restricted = false;        // the guests reach nothing outside their LAN
};

}  // namespace netstack
