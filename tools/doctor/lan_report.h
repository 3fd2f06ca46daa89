#pragma once

#include <string>

#include "tools/doctor/finding.h"
#include "tools/doctor/lan_sight.h"
#include "tools/doctor/page.h"

namespace tools {

// What was found in a LAN, with a picture of it: its ports, who is there, and a mark for each.
std::string lan_text(const LanSight& lan, const Findings& findings, const PageStyle& style);
std::string lan_json(const LanSight& lan, const Findings& findings);

}  // namespace tools
