// The gateway itself asks a forward's guest whether it listens, so nothing is sent for this. A port
// that refuses is somebody's mistake; a guest that does not answer yet may still boot.
#include <fmt/format.h>

#include <string>

#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

std::string cure_of(const std::string& answer) {
  if (answer == "refused") return "start the server in the guest, or correct the address and port";
  if (answer == "place-taken") return "end the program that has the host's port";
  if (answer == "accepted") {
    return "see what the switch says of it on its standard error: descriptors may be used up "
           "(ulimit -n)";
  }
  return "wait while the guest boots; then see its address and its firewall";
}

}  // namespace

Findings check_forwards(const LanSight& lan) {
  const char* id = "forwards";
  const char* title = "forwards";
  if (!lan.forwards) return {{id, title, "not looked for: no gateway tells of forwards"}};
  Findings findings;
  for (const ForwardSight& forward : *lan.forwards) {
    if (forward.state != "waiting") continue;
    findings.push_back(
        warning(id, title, fmt::format("{} lets nobody in: {}", forward.rule, forward.explanation),
                cure_of(forward.answer)));
    const bool ours = forward.answer == "place-taken" || forward.answer == "accepted";
    findings.back().needed = ours || forward.answer == "refused";
    if (!ours) {
      findings.back().cause = netstack::cause_row(netstack::Cause::kForwardUnanswered).id;
    }
  }
  if (!findings.empty()) return findings;
  return {{id, title, fmt::format("{}, none waits for its guest", lan.forwards->size())}};
}

}  // namespace tools
