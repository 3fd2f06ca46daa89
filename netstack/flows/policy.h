#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/config/policy_rule.h"
#include "netstack/wire/target.h"

namespace netstack {

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
