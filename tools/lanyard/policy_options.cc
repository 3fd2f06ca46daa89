#include "tools/lanyard/policy_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "netstack/base/error.h"
#include "netstack/capture/output.h"

namespace tools {

using Action = netstack::PolicyRule::Action;
using netstack::PolicyRule;

void PolicyOptions::add_to(CLI::App& app) {
  add_rules_to(app);
  app.add_flag("--restrict", restricted,
               "Keep guests to their LAN: they reach neither the host nor what is behind it; only "
               "forwards lead to them");
}

void PolicyOptions::add_rules_to(CLI::App& app) {
  const auto add = [&](const char* name, Action action, const char* help) {
    app.add_option_function<std::string>(
           name,
           [this, action](const std::string& text) {
             rules.push_back({action, text});
           },
           help)
        ->trigger_on_parse()  // so that both options keep the order among them
        ->type_name("RULE|@FILE");
  };
  add("--allow", Action::kAllow,
      "Let guests reach this, for example tcp:example.org:443, and nothing that no rule allows; "
      "the first --allow or --deny that fits decides; @FILE has a rule in each line; may be "
      "repeated");
  add("--deny", Action::kDeny,
      "Keep guests from this, for example 10.0.0.0/8 or *.example.org; may be repeated");
}

bool PolicyOptions::has(Action action) const {
  return std::ranges::find(rules, action, &Rule::action) != rules.end();
}

netstack::PolicyConfig PolicyOptions::config() const {
  netstack::PolicyConfig config;
  config.restricted = restricted;
  config.allow_list = has(Action::kAllow);
  for (const Rule& rule : rules) {
    if (!rule.text.starts_with('@')) {
      config.rules.push_back(PolicyRule::parse(rule.action, rule.text));
      continue;
    }
    const std::string path = rule.text.substr(1);
    if (const auto given = netstack::given_descriptor(path);
        given && !netstack::given_flags(*given)) {
      throw netstack::host_error(EBADF, fmt::format("read the rules in {}", path),
                                 "redirect it, or name a file", EX_NOINPUT);
    }
    const auto of_file = PolicyRule::parse_file(rule.action, path);
    config.rules.insert(config.rules.end(), of_file.begin(), of_file.end());
  }
  return config;
}

}  // namespace tools
