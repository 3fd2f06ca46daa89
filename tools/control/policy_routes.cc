#include "tools/control/policy_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "netstack/base/number.h"
#include "tools/control/json_pieces.h"

namespace tools {

namespace {

using netstack::Policy;
using netstack::PolicyRule;
using nlohmann::json;

json describe_rule(const Policy::Rule& rule) {
  return {{"id", rule.id},
          {"action", netstack::action_name(rule.rule.action)},
          {"match", to_string(rule.rule)},
          {"decided", rule.decided_count}};
}

ControlReply show_policy(const Policy& policy) {
  return reply_with_object(
      {{.name = "otherwise",
        .value = policy.allow_list() || policy.restricted() ? "deny" : "allow"},
       {.name = "restricted", .value = policy.restricted()},
       {.name = "rules", .items = items_of(policy.rules(), describe_rule)},
       {.name = "remarks", .value = policy.idle_rules()}});
}

// {"action": "allow", "match": "tcp:example.org:443"}
PolicyRule read_rule(const ControlRequest& request, const json& body) {
  const auto text = [&](const char* name) {
    const auto found = body.is_object() ? body.find(name) : body.end();
    if (!body.is_object() || found == body.end() || !found->is_string()) {
      throw ControlRefusal(400, fmt::format("cannot {} {}: a rule needs \"{}\", a string",
                                            request.method, request.path, name));
    }
    return found->get<std::string>();
  };
  const std::string action = text("action");
  if (action != "allow" && action != "deny") {
    throw ControlRefusal(400, fmt::format("cannot {} {}: \"action\" is neither allow nor deny",
                                          request.method, request.path));
  }
  return PolicyRule::parse(
      action == "allow" ? PolicyRule::Action::kAllow : PolicyRule::Action::kDeny, text("match"));
}

ControlReply replace_policy(Policy& policy, const ControlRequest& request) {
  const auto rules = request.body.find("rules");
  if (rules == request.body.end() || !rules->is_array()) {
    throw ControlRefusal(400, "cannot PUT /policy: the body needs \"rules\", an array");
  }
  netstack::PolicyConfig config;
  for (const json& rule : *rules) config.rules.push_back(read_rule(request, rule));
  if (const auto otherwise = request.body.find("otherwise"); otherwise != request.body.end()) {
    if (*otherwise != "allow" && *otherwise != "deny") {
      throw ControlRefusal(400, "cannot PUT /policy: \"otherwise\" is neither allow nor deny");
    }
    config.allow_list = *otherwise == "deny";
    const bool allows = std::ranges::any_of(config.rules, [](const PolicyRule& rule) {
      return rule.action == PolicyRule::Action::kAllow;
    });
    if (!config.allow_list && allows) {
      throw ControlRefusal(400,
                           "cannot PUT /policy: with a rule that allows, what no rule fits is "
                           "denied; end the rules with {\"action\": \"allow\", \"match\": "
                           "\"any\"} instead of \"otherwise\"");
    }
  }
  policy.replace(config);
  return show_policy(policy);
}

uint32_t rule_number(const ControlRequest& request, const std::string& text) {
  if (const auto id = netstack::parse_number<uint32_t>(text)) return *id;
  throw ControlRefusal(404, fmt::format("cannot {} {}: there is no rule {}; GET /policy lists them",
                                        request.method, request.path, text));
}

ControlReply add_rule(Policy& policy, const ControlRequest& request) {
  const PolicyRule rule = read_rule(request, request.body);
  uint32_t before = 0;
  if (const auto given = request.body.find("before"); given != request.body.end()) {
    before = rule_number(request, given->is_number_integer() ? given->dump() : "of that kind");
    const auto is_it = [&](const Policy::Rule& each) { return each.id == before; };
    if (std::ranges::none_of(policy.rules(), is_it)) {
      throw ControlRefusal(404, fmt::format("cannot {} {}: there is no rule {} to stand before; "
                                            "GET /policy lists them",
                                            request.method, request.path, before));
    }
  }
  return {.status = 201, .json = describe_rule(policy.insert(rule, before))};
}

ControlReply remove_rule(Policy& policy, const ControlRequest& request) {
  const std::string& text = request.parameters.find("id")->second;
  if (!policy.remove(rule_number(request, text))) {
    throw ControlRefusal(404,
                         fmt::format("cannot {} {}: there is no rule {}; GET /policy lists them",
                                     request.method, request.path, text));
  }
  return show_policy(policy);
}

}  // namespace

void add_policy_routes(Router& router, ControlledLan& target) {
  using Request = const ControlRequest&;
  const auto policy = [&target](Request request) -> Policy& {
    return gateway_of(target, request).policy();
  };
  router.add("GET", "/policy",
             [=](Request request) -> ControlReply { return show_policy(policy(request)); });
  router.add("PUT", "/policy",
             [=](Request request) { return replace_policy(policy(request), request); });
  router.add("POST", "/policy/rules",
             [=](Request request) { return add_rule(policy(request), request); });
  router.add("DELETE", "/policy/rules/{id}",
             [=](Request request) { return remove_rule(policy(request), request); });
}

}  // namespace tools
