#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "netstack/flows/policy.h"

namespace tools {

// Where guests may go, as it is given at the start, and when it is replaced later.
struct PolicyOptions {
  struct Rule {
    netstack::PolicyRule::Action action;
    std::string text;  // a rule, or @FILE
  };

  std::vector<Rule> rules;  // in the order given
  bool restricted = false;

  void add_to(CLI::App& app);
  void add_rules_to(CLI::App& app);  // without --restrict
  bool has(netstack::PolicyRule::Action action) const;
  netstack::PolicyConfig config() const;  // throws Error
};

}  // namespace tools
