#include "tools/doctor/finding.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "netstack/base/counted.h"
#include "netstack/base/error.h"

namespace tools {

using nlohmann::ordered_json;

namespace {

// Where nothing came back, the gateway has nothing to pass on.
bool is_silence(netstack::Cause cause) {
  return cause == netstack::Cause::kNoAnswer || cause == netstack::Cause::kNameserverSilent;
}

ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json(nullptr) : ordered_json(text);
}

// For `count` more of the kind of `one`.
Finding stand_in(const Finding& one, uint64_t count) {
  const std::string noun = fmt::format("more such {}", mark_name(one.mark()));
  Finding finding{one.id, one.title, "and " + netstack::counted(count, noun), false, one.needed};
  finding.cure = "mend these, and look again";
  finding.cause = one.cause;
  finding.more_count = count;
  return finding;
}

}  // namespace

std::string_view mark_name(Mark mark) {
  switch (mark) {
    case Mark::kOk:
      return "ok";
    case Mark::kWarning:
      return "warning";
    case Mark::kProblem:
      return "problem";
  }
  return "";
}

Finding problem(std::string id, std::string title, std::string fact, std::string cure,
                int errno_value) {
  Finding finding{std::move(id), std::move(title), std::move(fact), false};
  finding.cure = std::move(cure);
  finding.errno_value = errno_value;
  return finding;
}

Finding warning(std::string id, std::string title, std::string fact, std::string cure,
                int errno_value) {
  Finding finding =
      problem(std::move(id), std::move(title), std::move(fact), std::move(cure), errno_value);
  finding.needed = false;
  return finding;
}

Mark Finding::mark() const {
  if (ok) return Mark::kOk;
  return needed ? Mark::kProblem : Mark::kWarning;
}

void take_reason(Finding& finding, const netstack::Reason& reason, bool v6) {
  const netstack::CauseRow& row = netstack::cause_row(reason.cause);
  finding.ok = false;
  finding.cause = row.id;
  finding.fact = reason.fact;
  finding.cure = reason.cure;
  finding.errno_value = reason.errno_value;
  if (!is_silence(reason.cause) && netstack::words_for(reason, v6)) {
    finding.guest_told = netstack::told_to_guest(reason, v6);
  }
}

Mark worst(const Findings& findings) {
  Mark mark = Mark::kOk;
  for (const Finding& finding : findings) mark = std::max(mark, finding.mark());
  return mark;
}

const Finding* first_problem(const Findings& findings) {
  const auto at = std::ranges::find(findings, Mark::kProblem, &Finding::mark);
  return at == findings.end() ? nullptr : &*at;
}

Findings shown(const Findings& findings) {
  using Kind = std::tuple<std::string_view, Mark, std::string_view>;
  const auto kind_of = [](const Finding& one) { return Kind(one.id, one.mark(), one.cause); };
  std::map<Kind, uint64_t> totals;
  for (const Finding& one : findings) ++totals[kind_of(one)];
  std::map<Kind, uint64_t> counts;
  Findings few;
  for (const Finding& one : findings) {
    const uint64_t count = ++counts[kind_of(one)];
    if (one.ok || count <= kShownOfKind_count) few.push_back(one);
    const uint64_t more = totals[kind_of(one)] - count;
    if (!one.ok && count == kShownOfKind_count && more > 0) few.push_back(stand_in(one, more));
  }
  return few;
}

ordered_json as_json(const Finding& finding) {
  ordered_json out;
  out["id"] = finding.id;
  if (!finding.address.empty()) out["address"] = finding.address;
  if (finding.port) out["port"] = *finding.port;
  if (!finding.other_address.empty()) out["other_address"] = finding.other_address;
  if (finding.other_port) out["other_port"] = *finding.other_port;
  out["mark"] = mark_name(finding.mark());
  out["ok"] = finding.ok;
  out["needed"] = finding.needed;
  out["fact"] = finding.fact;
  out["cause"] = text_or_null(finding.cause);
  out["cure"] = text_or_null(finding.cure);
  out["errno"] = finding.errno_value != 0 ? ordered_json(netstack::errno_name(finding.errno_value))
                                          : ordered_json(nullptr);
  if (finding.more_count > 0) out["more"] = finding.more_count;
  return out;
}

std::string dump(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace tools
