// A guest that fails in all it tries is told apart from one that tried something out of reach: what
// it lacks is a way out, and not one service. That stands in its way, so it is a problem; where
// somebody has refused it, or the policy denies all it tries, it is a warning. Questions to the
// gateway's own DNS do not count, since those are answered in any case, nor does what came in by a
// forward, nor a traceroute.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

constexpr const char* kId = "flows";
constexpr const char* kTitle = "flows";
constexpr size_t kRefusedMin_count = 2;  // refused or denied; fewer are told among the reasons

bool is_traceroute(const FlowSight& flow) {
  return flow.reason == netstack::cause_row(netstack::Cause::kHopLimit).id;
}

bool has_failed(const FlowSight& flow) {
  return flow.state == "refused" || flow.state == "unreachable" || flow.state == "denied" ||
         flow.state == "timed-out";
}

// What became of one guest's flows.
struct Record {
  size_t begun_count = 0;
  size_t failed_count = 0;
  std::map<std::string, size_t> states;
  std::map<std::string, size_t> reasons;
  const FlowSight* last = nullptr;
};

std::map<std::string, Record> records_of(const std::vector<FlowSight>& flows) {
  std::map<std::string, Record> all;
  for (const FlowSight& flow : flows) {
    const bool is_open = flow.state == "opening";
    if (flow.inward || flow.question || is_open || flow.begun_s > kRecent_s) continue;
    if (is_traceroute(flow)) continue;
    Record& record = all[flow.mac];
    ++record.begun_count;
    if (record.last == nullptr) record.last = &flow;
    if (!has_failed(flow)) continue;
    ++record.failed_count;
    ++record.states[flow.state];
    if (!flow.reason.empty()) ++record.reasons[flow.reason];
  }
  return all;
}

// None of what it tried, and was let try, has answered in any way.
bool reaches_nothing(const Record& record) {
  return !record.states.contains("refused") &&
         (record.states.contains("unreachable") || record.states.contains("timed-out"));
}

// "2 refused, 7 unreachable"
std::string counts_text(const std::map<std::string, size_t>& counts) {
  std::string text;
  for (const auto& [name, count] : counts) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name);
  }
  return text;
}

std::string most_frequent(const std::map<std::string, size_t>& counts) {
  const auto at =
      std::ranges::max_element(counts, {}, [](const auto& each) { return each.second; });
  return at == counts.end() ? std::string() : at->first;
}

// What was told to that guest, or to any, of such a cause.
const ReasonSight* reason_of(const LanSight& lan, const std::string& mac,
                             const std::string& cause) {
  if (!lan.reasons) return nullptr;
  const ReasonSight* found = nullptr;
  const std::string address = lan.address_of(mac);
  for (const ReasonSight& reason : *lan.reasons) {
    if (reason.cause == cause && (found == nullptr || reason.guest == address)) found = &reason;
  }
  return found;
}

Finding describe(const LanSight& lan, const std::string& mac, const Record& record) {
  const std::string cause = most_frequent(record.reasons);
  const ReasonSight* reason = reason_of(lan, mac, cause);
  const FlowSight& last = *record.last;
  const std::string port = last.port == 0 ? "" : fmt::format(" port {}", last.port);
  Finding finding = (reaches_nothing(record) ? problem : warning)(
      kId, kTitle,
      fmt::format("{}: none of its flows came through ({}{}), the last to {}{} {}{}",
                  lan.guest_name(mac), counts_text(record.states),
                  record.reasons.empty() ? "" : "; " + counts_text(record.reasons), last.place,
                  port, last.protocol, reason != nullptr ? ": " + reason->fact : ""),
      reason != nullptr && !reason->cure.empty()
          ? reason->cure
          : fmt::format("see `lanyard ctl {} flows --guest {}`", lan.directory, mac),
      0);
  finding.cause = cause;
  finding.address = mac;
  if (reason != nullptr) finding.guest_told = reason->told;
  return finding;
}

}  // namespace

Findings check_flows(const LanSight& lan) {
  if (!lan.flows) return {{kId, kTitle, "not looked for: no gateway tells of flows"}};
  Findings findings;
  const auto records = records_of(*lan.flows);
  for (const auto& [mac, record] : records) {
    if (record.failed_count == 0 || record.failed_count < record.begun_count) continue;
    if (!reaches_nothing(record) && record.failed_count < kRefusedMin_count) continue;
    findings.push_back(describe(lan, mac, record));
  }
  if (!findings.empty()) return findings;
  return {{kId, kTitle,
           fmt::format("of {} with flows of late, none fails in all it tries",
                       netstack::counted(records.size(), "guest"))}};
}

}  // namespace tools
