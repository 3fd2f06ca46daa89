// No guest is hindered by an open switch; what it guards is this host.
#include <fmt/format.h>

#include "tools/doctor/lan_checks.h"

namespace tools {

Findings check_lock(const LanSight& lan) {
  const char* id = "lock";
  const char* title = "sandbox";
  if (!lan.sandbox) return {{id, title, "not looked for: this switch does not tell"}};
  const SandboxSight& sandbox = *lan.sandbox;
  const std::string fact = fmt::format("the switch is {}", sandbox.explanation);
  if (!sandbox.locked) {
    return {warning(id, title, fact,
                    "start it without --no-sandbox and LANYARD_SANDBOX, which are for debugging")};
  }
  if (sandbox.gaps.empty()) return {{id, title, fact}};
  // A gap is one sentence: what is open and why; what to do.
  Findings findings;
  for (const std::string& gap : sandbox.gaps) {
    const size_t cure = gap.rfind("; ");
    findings.push_back(
        warning(id, title, fmt::format("{}: {}", fact, gap.substr(0, cure)),
                cure == gap.npos ? "see tools/sandbox/README.md" : gap.substr(cure + 2)));
  }
  return findings;
}

}  // namespace tools
