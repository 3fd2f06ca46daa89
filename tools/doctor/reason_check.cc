// What the gateway told guests of late: each is a warning, since many a test wants it so.
#include <fmt/format.h>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

constexpr const char* kId = "reasons";
constexpr const char* kTitle = "unreachable";

Finding describe(const ReasonSight& reason) {
  const std::string port = reason.port == 0 ? "" : fmt::format(" port {}", reason.port);
  Finding finding =
      warning(kId, kTitle,
              fmt::format("{} → {}{} {}, {}, last {:.0f} s ago: {}", reason.guest, reason.address,
                          port, reason.protocol, netstack::counted(reason.count, "time"),
                          reason.ago_s, reason.fact),
              reason.cure.empty() ? "see `lanyard doctor --causes`" : reason.cure);
  finding.cause = reason.cause;
  finding.guest_told = reason.told;
  return finding;
}

}  // namespace

Findings check_reasons(const LanSight& lan) {
  if (!lan.reasons) return {{kId, kTitle, "not looked for: no gateway tells of reasons"}};
  Findings findings;
  for (auto at = lan.reasons->rbegin(); at != lan.reasons->rend(); ++at) {
    if (at->ago_s <= kRecent_s) findings.push_back(describe(*at));
  }
  if (!findings.empty()) return findings;
  return {{kId, kTitle, "guests were told of nothing out of reach"}};
}

}  // namespace tools
