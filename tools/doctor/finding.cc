#include "tools/doctor/finding.h"

#include <algorithm>
#include <utility>

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
  return out;
}

std::string dump(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace tools
