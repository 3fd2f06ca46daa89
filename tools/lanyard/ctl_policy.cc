#include "tools/lanyard/ctl_policy.h"

#include "tools/lanyard/given_word.h"
#include "tools/lanyard/policy_options.h"

namespace tools {

namespace {

using nlohmann::json;

// `allow` and `deny`: one rule, in front of all others unless something else is asked for.
void add_rule(CLI::App& policy, const std::shared_ptr<CtlOptions>& options, const char* action,
              const char* help) {
  CLI::App* command = policy.add_subcommand(action, help);
  auto last = std::make_shared<bool>(false);
  auto next_id = std::make_shared<std::optional<uint32_t>>();
  command
      ->add_option("RULE", options->word,
                   "As for --allow and --deny, for example tcp:example.org:443")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  CLI::Option* before =
      command->add_option("--before", *next_id, "In front of the rule with this number instead");
  before->type_name("ID")->check(refuse_empty);
  command->add_flag("--last", *last, "Behind all other rules instead")->excludes(before);
  command->callback([options, action, last, next_id] {
    json body = {{"action", action}, {"match", options->word}};
    if (*next_id) {
      body["before"] = **next_id;
    } else if (!*last) {
      const json rules = json::parse(ask(*options, "GET", "/policy")).at("rules");
      if (!rules.empty()) body["before"] = rules[0].at("id");
    }
    ask(*options, "POST", "/policy/rules", body);
  });
}

void add_replace(CLI::App& policy, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = policy.add_subcommand(
      "replace", "Put these rules in the place of all others at once; without any, all is allowed");
  auto rules = std::make_shared<PolicyOptions>();
  rules->add_rules_to(*command);
  command->add_option("--otherwise", options->word, "What happens to what no rule fits")
      ->check(CLI::IsMember({"allow", "deny"}))
      ->type_name("allow|deny");
  command->callback([options, rules] {
    json body = {{"rules", json::array()}};
    for (const netstack::PolicyRule& rule : rules->config().rules) {
      body["rules"].push_back(
          {{"action", netstack::action_name(rule.action)}, {"match", to_string(rule)}});
    }
    if (!options->word.empty()) body["otherwise"] = options->word;
    ask(*options, "PUT", "/policy", body);
  });
}

}  // namespace

void add_policy(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = add_listing(app, options, "policy", "/policy",
                                  "Where guests may go; change it", &CtlTables::policy);
  add_rule(*command, options, "allow", "Let flows through that RULE fits, before all other rules");
  add_rule(*command, options, "deny", "Refuse flows that RULE fits, before all other rules");
  CLI::App* remove = command->add_subcommand("remove", "Take a rule away");
  remove->add_option("ID", options->word, "Its number in the list")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  remove->callback([options] { ask(*options, "DELETE", "/policy/rules/" + options->word); });
  add_replace(*command, options);
}

}  // namespace tools
