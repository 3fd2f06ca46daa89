#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/gateway/reason.h"
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

// Where guests may go. The first rule that fits decides; without one, everything is allowed unless
// there is a rule that allows: then the rest is denied.
//
// Names. The gateway sees addresses, so a rule by name goes by the answers that this guest got from
// the gateway's DNS: an address counts as every name it was given for (NameBook). A guest that
// learns addresses elsewhere has no names, and rules by name do not fit what it sends.
//
// A question is answered as long as something may come of it: it is refused (REFUSED) when a rule
// for dns: says so or, with none that fits, when no connection to any address it could have would
// be allowed. So a rule by address leaves all names open. Names that the gateway itself knows are
// always told.
//
// Not egress, and so not judged: connections into the guest (forwards) with what belongs to them,
// DHCP, echo to the gateway itself, guests among each other.
class Policy {
 public:
  static constexpr size_t kRulesMax = 1024;

  struct Rule {
    uint32_t id;  // never used again
    PolicyRule rule;
    uint64_t decided_count = 0;  // flows and questions it was the first to fit
  };
  struct Verdict {
    bool allowed = true;
    const Rule* rule = nullptr;  // that decided, until the policy changes; null: none fitted
    bool restricted = false;     // decided by --restrict

    std::string by() const;  // "rule 2 (deny *.example)", "no rule", "--restrict"
  };

  explicit Policy(const PolicyConfig& config);  // throws Error: too many rules

  // `names`: what the guest knows the address by.
  Verdict judge(const Target& target, std::span<const std::string> names);
  Verdict judge_question(std::string_view name);  // lower case, no trailing dot

  bool is_open() const { return rules_.empty() && !allow_list_ && !restricted_; }
  bool restricted() const { return restricted_; }
  bool allow_list() const { return allow_list_; }
  const std::vector<Rule>& rules() const { return rules_; }

  // Each takes effect at once, on flows under way as well. They throw Error when there would be too
  // many rules. `restricted` stays what it was when the gateway was made.
  void replace(const PolicyConfig& config);
  const Rule& append(const PolicyRule& rule);
  // In front of the rule with that id, or last when there is none.
  const Rule& insert(const PolicyRule& rule, uint32_t before_id);
  bool remove(uint32_t id);  // false: there is no such rule. An allow list stays one.

  // Rules that can never be the first to fit, a line each: "rule 2 (deny …) never counts: …".
  std::vector<std::string> idle_rules() const;

  void watch(std::function<void()> on_change) { on_change_ = std::move(on_change); }

 private:
  Verdict conclude(Rule* rule);
  void changed();

  std::vector<Rule> rules_;
  bool allow_list_ = false;
  bool restricted_;
  uint32_t next_id_ = 1;
  std::function<void()> on_change_;
};

}  // namespace netstack
