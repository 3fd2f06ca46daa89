#include <fmt/format.h>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

Findings check_loops(const LanSight& lan) {
  const char* id = "loops";
  const char* title = "loops";
  if (!lan.loop) return {{id, title, "not looked for: this switch does not tell of loops"}};
  if (lan.loop->engaged) {
    return {problem(id, title,
                    fmt::format("frames come back through {} {}: copies are dropped",
                                netstack::in_number(lan.loop->ports.size(), "port"),
                                fmt::join(lan.loop->ports, ", ")),
                    "take one of the cables between them away")};
  }
  if (lan.loop->episode_count > 0) {
    return {
        warning(id, title,
                fmt::format("none now; {} {} found since the switch started",
                            lan.loop->episode_count, lan.loop->episode_count == 1 ? "was" : "were"),
                "see what the switch said of them on its standard error")};
  }
  return {{id, title, "none"}};
}

}  // namespace tools
