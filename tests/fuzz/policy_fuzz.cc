// Rules as a user, a file or the control socket writes them. Checked: what is
// taken reads the same when it is written down again; a rule that covers
// another fits all that the other fits; a policy answers for every target and
// name.
//
//   input: lines; the first character of each: '!' denies, any other belongs to
//   the rule
#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/flows/policy.h"
#include "tests/fuzz/input.h"
#include "tests/packets/packets.h"

using namespace netstack;

namespace {

constexpr size_t kLines_count = 32;  // of an input; the rest is not looked at

struct Attempt {
  Target target;
  std::vector<std::string> names;
};

const std::vector<Attempt>& attempts() {
  static const std::vector<Attempt> all = {
      {{Protocol::kTcp, packets::ip("192.0.2.1"), 443}, {"example.org", "www.example.org"}},
      {{Protocol::kUdp, packets::ip("10.1.2.3"), 53}, {}},
      {{Protocol::kIcmpEcho, packets::ip("2001:db8::1"), 0}, {"a.example"}},
      {{Protocol::kTcp, packets::ip("::"), 65535}, {"*"}},
      {{Protocol::kUdp, packets::ip("255.255.255.255"), 1}, {"\\032", ""}},
  };
  return all;
}

std::optional<PolicyRule> read_rule(std::string_view text) {
  const bool deny = text.starts_with('!');
  if (deny) text.remove_prefix(1);
  try {
    return PolicyRule::parse(deny ? PolicyRule::Action::kDeny : PolicyRule::Action::kAllow, text);
  } catch (const Error& error) {
    const std::string_view line = error.what();
    check(line.starts_with("cannot "), "what is no rule is refused in a sentence");
    return std::nullopt;
  }
}

bool denies(const PolicyRule& rule, const Attempt& attempt) {
  PolicyConfig config;
  config.rules = {rule};
  config.rules[0].action = PolicyRule::Action::kDeny;
  return !Policy(config).judge(attempt.target, attempt.names).allowed;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  PolicyConfig config;
  for (size_t line = 0; line < kLines_count && !rest.empty(); ++line) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (auto rule = read_rule(rest.substr(0, end))) {
      check(PolicyRule::parse(rule->action, to_string(*rule)) == *rule, "a rule reads as written");
      check(covers(*rule, *rule), "a rule covers itself");
      config.rules.push_back(std::move(*rule));
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (const PolicyRule& one : config.rules) {
    for (const PolicyRule& other : config.rules) {
      if (!covers(one, other)) continue;
      for (const Attempt& attempt : attempts()) {
        check(!denies(other, attempt) || denies(one, attempt), "what covers fits all of it");
      }
    }
  }
  Policy policy(config);
  for (const std::string& line : policy.idle_rules()) check(!line.empty(), "a remark says what");
  for (const Attempt& attempt : attempts()) {
    const auto verdict = policy.judge(attempt.target, attempt.names);
    check(!verdict.by().empty(), "a verdict has its rule");
    for (const std::string& name : attempt.names) {
      static_cast<void>(policy.judge_question(name));
    }
  }
  return 0;
}
