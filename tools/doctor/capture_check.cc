// No guest is hindered by a capture that misses frames, but who reads it is misled.
#include <fmt/format.h>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

Findings check_captures(const LanSight& lan) {
  const char* id = "captures";
  const char* title = "captures";
  Findings findings;
  for (const CaptureSight& capture : lan.captures) {
    if (capture.trouble.empty()) continue;
    findings.push_back(
        warning(id, title,
                fmt::format("capture {} to {} misses {}: {}", capture.id, capture.file,
                            netstack::counted(capture.lost_count, "frame"), capture.trouble),
                "make room where it is written, or capture less: with a filter, or a snaplen"));
  }
  if (!findings.empty()) return findings;
  return {{id, title,
           lan.captures.empty() ? "none runs"
           : lan.captures.size() == 1
               ? "1 runs and misses nothing"
               : fmt::format("{} run and miss nothing", lan.captures.size())}};
}

}  // namespace tools
