#include "netstack/flows/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "netstack/base/error.h"

namespace netstack {

namespace {

using Action = PolicyRule::Action;
using Matter = PolicyRule::Matter;
using Place = PolicyRule::Place;

bool fits_name(const PolicyRule& rule, std::string_view name) {
  if (rule.place == Place::kName) return name == rule.name;
  return name.size() > rule.name.size() + 1 && name.ends_with(rule.name) &&
         name[name.size() - rule.name.size() - 1] == '.';
}

bool fits_protocol(const PolicyRule& rule, const Target& target) {
  switch (rule.matter) {
    case Matter::kAny:
      break;
    case Matter::kTcp:
      if (target.protocol != Protocol::kTcp) return false;
      break;
    case Matter::kUdp:
      if (target.protocol != Protocol::kUdp) return false;
      break;
    case Matter::kEcho:
      return target.protocol == Protocol::kIcmpEcho;
    case Matter::kQuestion:
      return false;
  }
  if (rule.port_first == 0) return true;
  return target.protocol != Protocol::kIcmpEcho && target.port >= rule.port_first &&
         target.port <= rule.port_last;
}

bool fits(const PolicyRule& rule, const Target& target, std::span<const std::string> names) {
  if (!fits_protocol(rule, target)) return false;
  switch (rule.place) {
    case Place::kAnywhere:
      return true;
    case Place::kNetwork:
      return rule.contains(target.address);
    default:
      return std::ranges::any_of(names,
                                 [&](const std::string& name) { return fits_name(rule, name); });
  }
}

bool fits_question(const PolicyRule& rule, std::string_view name) {
  return rule.place == Place::kAnywhere || (rule.place != Place::kNetwork && fits_name(rule, name));
}

}  // namespace

Policy::Policy(const PolicyConfig& config) : restricted_(config.restricted) {
  replace(config);
}

Policy::Verdict Policy::judge(const Target& target, std::span<const std::string> names) {
  if (restricted_) return {.allowed = false, .rule = nullptr, .restricted = true};
  const auto first = std::ranges::find_if(
      rules_, [&](const Rule& each) { return fits(each.rule, target, names); });
  return conclude(first == rules_.end() ? nullptr : &*first);
}

Policy::Verdict Policy::judge_question(std::string_view name) {
  if (restricted_) return {.allowed = false, .rule = nullptr, .restricted = true};
  for (Rule& each : rules_) {
    if (each.rule.matter == Matter::kQuestion && fits_question(each.rule, name)) {
      return conclude(&each);
    }
  }
  for (Rule& each : rules_) {
    const PolicyRule& rule = each.rule;
    if (rule.matter == Matter::kQuestion) continue;
    if (rule.action == Action::kAllow) {
      if (rule.place == Place::kNetwork || fits_question(rule, name)) return {};
    } else if (rule.matter == Matter::kAny && rule.port_first == 0 && fits_question(rule, name)) {
      return conclude(&each);
    }
  }
  return conclude(nullptr);
}

Policy::Verdict Policy::conclude(Rule* rule) {
  if (rule == nullptr) return {.allowed = !allow_list_};
  ++rule->decided_count;
  return {.allowed = rule->rule.action == Action::kAllow, .rule = rule};
}

std::string Policy::Verdict::by() const {
  if (restricted) return "--restrict";
  return rule == nullptr ? "no rule" : fmt::format("rule {} ({})", rule->id, described(rule->rule));
}

void Policy::replace(const PolicyConfig& config) {
  if (config.rules.size() > kRulesMax) {
    throw Error(EX_USAGE, fmt::format("cannot keep {} rules: the limit is {}; write fewer, by "
                                      "network or *.suffix",
                                      config.rules.size(), kRulesMax));
  }
  rules_.clear();
  allow_list_ = config.allow_list;
  for (const PolicyRule& rule : config.rules) {
    rules_.push_back({next_id_++, rule});
    allow_list_ = allow_list_ || rule.action == Action::kAllow;
  }
  changed();
}

const Policy::Rule& Policy::append(const PolicyRule& rule) {
  return insert(rule, 0);
}

const Policy::Rule& Policy::insert(const PolicyRule& rule, uint32_t before_id) {
  if (rules_.size() >= kRulesMax) {
    throw Error(EX_USAGE,
                fmt::format("cannot {}: there are {} rules already, the limit; take one away",
                            described(rule), kRulesMax));
  }
  const auto before = std::ranges::find(rules_, before_id, &Rule::id);
  const uint32_t id = next_id_++;
  rules_.insert(before, {id, rule});
  allow_list_ = allow_list_ || rule.action == Action::kAllow;
  changed();
  return *std::ranges::find(rules_, id, &Rule::id);
}

bool Policy::remove(uint32_t id) {
  if (std::erase_if(rules_, [&](const Rule& each) { return each.id == id; }) == 0) return false;
  changed();
  return true;
}

void Policy::changed() {
  if (on_change_) on_change_();
}

std::vector<std::string> Policy::idle_rules() const {
  std::vector<std::string> lines;
  for (size_t at = 0; at < rules_.size(); ++at) {
    const auto end = rules_.begin() + static_cast<ptrdiff_t>(at);
    const auto first = std::find_if(
        rules_.begin(), end, [&](const Rule& each) { return covers(each.rule, rules_[at].rule); });
    if (first == end || first->rule.action == rules_[at].rule.action) continue;
    lines.push_back(
        fmt::format("rule {} ({}) never counts: rule {} ({}) stands in front of it "
                    "and fits first; put the narrower rule first",
                    rules_[at].id, described(rules_[at].rule), first->id, described(first->rule)));
  }
  return lines;
}

}  // namespace netstack
