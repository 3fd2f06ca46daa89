#include "tools/lanyard/cause_list.h"

#include <nlohmann/json.hpp>

#include "netstack/reachability/reason.h"

namespace tools {
namespace {

using nlohmann::ordered_json;

ordered_json describe(uint8_t type, uint8_t code, bool v6) {
  return {{"type", type}, {"code", code}, {"ping", netstack::icmp_phrase(v6, {type, code})}};
}

}  // namespace

std::string causes_as_json() {
  ordered_json out = ordered_json::array();
  for (size_t at = 0; at < netstack::kCauseCount; ++at) {
    const netstack::CauseRow& row = netstack::cause_row(static_cast<netstack::Cause>(at));
    if (row.proof.empty()) continue;
    const netstack::IcmpAnswer& answer = row.answer;
    ordered_json one{{"id", row.id}, {"title", row.title}, {"when", row.when}};
    one["icmp"] = answer.told ? describe(answer.type4, answer.code4, false) : ordered_json();
    one["icmpv6"] = answer.told ? describe(answer.type6, answer.code6, true) : ordered_json();
    one["cure"] = row.cure;
    one["shown_by"] = row.proof;
    out.push_back(std::move(one));
  }
  return out.dump(2) + "\n";
}

}  // namespace tools
