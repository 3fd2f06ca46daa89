#include "tools/control/egress_report.h"

#include <fmt/format.h>

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "netstack/base/counted.h"
#include "netstack/base/error.h"
#include "netstack/flows/policy.h"
#include "tools/control/text_table.h"

namespace tools {

namespace {

using netstack::Cause;
using netstack::EgressBook;
using netstack::FlowState;
using netstack::PolicyRule;
using netstack::Protocol;
using nlohmann::json;

std::string_view protocol_of(const EgressBook::Key& key) {
  return key.question ? "dns" : protocol_word(key.protocol);
}

bool has_port(const EgressBook::Key& key) {
  return !key.question && key.protocol != Protocol::kIcmpEcho;
}

// "2 established, 1 denied"
std::string outcomes_text(const EgressBook::Row& row) {
  std::string text;
  for (size_t at = 0; at < row.outcomes.size(); ++at) {
    if (row.outcomes[at] == 0) continue;
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {}", row.outcomes[at],
                        netstack::flow_state_name(static_cast<FlowState>(at)));
  }
  return text;
}

std::string reasons_text(const EgressBook::Row& row) {
  std::string text;
  for (const auto& [cause, count] : row.causes) {
    if (!text.empty()) text += ", ";
    text += netstack::cause_row(cause).id;
  }
  if (!row.rule.empty()) text += fmt::format(" by {}", row.rule);
  return text;
}

template <typename Values>
json texts(const Values& values) {
  json out = json::array();
  for (const auto& value : values) out.push_back(to_string(value));
  return out;
}

// --- rules
// ----------------------------------------------------------------------------------------

// A rule for the place, as text. Nothing: a name that no rule can have (bytes
// that are no letters).
std::optional<std::string> rule_text(const EgressBook::Key& key, const std::string& place) {
  const bool bracket = place.find(':') != std::string::npos;
  std::string text = fmt::format("{}:{}", protocol_of(key), bracket ? '[' + place + ']' : place);
  if (has_port(key)) text += fmt::format(":{}", key.port);
  try {
    return to_string(PolicyRule::parse(PolicyRule::Action::kAllow, text));
  } catch (const netstack::Error&) {
    return std::nullopt;
  }
}

bool was_denied(const EgressBook::Row& row) {
  uint64_t denied_count = 0;
  for (const Cause cause : {Cause::kPolicyDenied, Cause::kRestricted}) {
    if (const auto found = row.causes.find(cause); found != row.causes.end()) {
      denied_count += found->second;
    }
  }
  return denied_count == row.flows_count;
}

std::string learned_line(const EgressBook::Key& key, const EgressBook::Row& row) {
  const std::string remark = fmt::format("  # {}", outcomes_text(row));
  if (const auto rule = rule_text(key, key.place)) {
    return (was_denied(row) ? "# denied: " : "") + *rule + remark + '\n';
  }
  if (key.question) return fmt::format("# no rule can have the name of a question{}\n", remark);
  std::string lines;
  for (const netstack::IpAddress& address : row.addresses) {
    lines +=
        (was_denied(row) ? "# denied: " : "") + *rule_text(key, to_string(address)) + remark + '\n';
  }
  return lines;
}

}  // namespace

std::string_view protocol_word(Protocol protocol) {
  return protocol == Protocol::kIcmpEcho ? "icmp" : netstack::protocol_name(protocol);
}

json egress_place(const EgressBook::Key& key, const EgressBook::Row& row) {
  json outcomes = json::object();
  for (size_t at = 0; at < row.outcomes.size(); ++at) {
    if (row.outcomes[at] == 0) continue;
    outcomes[std::string(netstack::flow_state_name(static_cast<FlowState>(at)))] = row.outcomes[at];
  }
  json reasons = json::object();
  for (const auto& [cause, count] : row.causes) {
    reasons[std::string(netstack::cause_row(cause).id)] = count;
  }
  return {{"protocol", protocol_of(key)},
          {"place", key.place},
          {"named", row.named},
          {"port", has_port(key) ? json(key.port) : json(nullptr)},
          {"flows", row.flows_count},
          {"outcomes", outcomes},
          {"reasons", reasons},
          {"rule", row.rule},
          {"packets_out", row.out.packets},
          {"bytes_out", row.out.bytes},
          {"packets_in", row.in.packets},
          {"bytes_in", row.in.bytes},
          {"addresses", texts(row.addresses)},
          {"guests", texts(row.guests)}};
}

json egress_json(const EgressBook& book) {
  json places = json::array();
  for (const auto& [key, row] : book.rows()) places.push_back(egress_place(key, row));
  return {{"places", places}, {"unlisted", book.unlisted_count()}};
}

std::string egress_table(const EgressBook& book) {
  std::vector<std::vector<TextCell>> rows{
      {"PROTOCOL", "PLACE", "PORT", "FLOWS", "BYTES OUT", "BYTES IN", "OUTCOME", "REASON"}};
  for (const auto& [key, row] : book.rows()) {
    rows.push_back({std::string(protocol_of(key)), key.place,
                    has_port(key) ? std::to_string(key.port) : "-", std::to_string(row.flows_count),
                    std::to_string(row.out.bytes), std::to_string(row.in.bytes), outcomes_text(row),
                    reasons_text(row)});
  }
  std::string text = text_table(rows);
  if (book.unlisted_count() != 0) {
    text +=
        fmt::format("and {}, to places beyond the {} that are listed\n",
                    netstack::counted(book.unlisted_count(), "more flow"), EgressBook::kRowsMax);
  }
  return text;
}

std::string learned_rules(const EgressBook& book) {
  std::set<std::string> reached;  // names whose questions the rules for flows leave open
  for (const auto& [key, row] : book.rows()) {
    if (!key.question && row.named && !was_denied(row)) reached.insert(key.place);
  }
  std::string text =
      "# What guests of a lanyard gateway reached for. For "
      "--allow @FILE: allows this and no more.\n";
  for (const auto& [key, row] : book.rows()) {
    if (key.question && reached.contains(key.place)) continue;
    text += learned_line(key, row);
  }
  if (book.unlisted_count() != 0) {
    text +=
        fmt::format("# not all: {} went to places beyond the {} that are listed\n",
                    netstack::counted(book.unlisted_count(), "more flow"), EgressBook::kRowsMax);
  }
  return text;
}

}  // namespace tools
