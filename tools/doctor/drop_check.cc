#include <fmt/format.h>

#include <array>
#include <string_view>

#include "netstack/base/counters.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

using netstack::DropReason;

constexpr const char* kId = "drops";
constexpr const char* kTitle = "lost frames";

// The reasons that tell of trouble. The others have checks of their own (not-ready, link-down,
// peer-gone, vlan-not-member, foreign-source, too-long), or tell of none (hairpin, unsupported).
struct CureRow {
  DropReason reason;
  const char* cure;
};
constexpr std::array kTroubles{
    CureRow{DropReason::kQueueFull, "give the receiver more time on the CPU, or send less"},
    CureRow{DropReason::kStorm, "take one cable of the loop away"},
    CureRow{DropReason::kRunt, "see what sends such frames: `lanyard ctl DIR capture start FILE`"},
    CureRow{DropReason::kMalformed,
            "see what sends such packets: `lanyard ctl DIR capture start FILE`"},
    CureRow{DropReason::kBadOffload, "update the guest's driver, or turn its offloads off"},
    CureRow{DropReason::kSequence, "connect anew"},
    CureRow{DropReason::kLimit, "end some guests or flows"},
};

// Counters begin anew when another takes the port between two looks.
uint64_t since(uint64_t before, uint64_t now) {
  return before > now ? now : now - before;
}

uint64_t dropped(const PortSight* port, std::string_view reason) {
  if (port == nullptr) return 0;
  const auto at = port->drops.find(std::string(reason));
  return at == port->drops.end() ? 0 : at->second;
}

}  // namespace

Findings check_drops(const LanVisit& visit) {
  Findings findings;
  for (const PortSight& port : visit.now.ports) {
    for (const CureRow& row : kTroubles) {
      const std::string_view reason = netstack::drop_reason_name(row.reason);
      const uint64_t frames = dropped(&port, reason);
      if (frames == 0) continue;
      const uint64_t lately = since(dropped(visit.before.port(port.number), reason), frames);
      findings.push_back(warning(
          kId, kTitle,
          fmt::format("{}: {} {} ({}), {} of them between two looks; {} went through", port.name(),
                      frames, reason, netstack::drop_reason_sentence(row.reason), lately,
                      port.egress_count),
          row.cure));
      findings.back().port = port.number;
    }
  }
  if (!findings.empty()) return findings;
  return {{kId, kTitle, "none that tell of trouble"}};
}

}  // namespace tools
