#pragma once

#include "tools/control/controlled_lan.h"
#include "tools/control/router.h"

namespace tools {

constexpr size_t kCaptures_count = 8;  // at once: each has a thread and a ring of 16 MiB

// Captures of all frames, begun and ended while the LAN runs. `target` is borrowed.
void add_capture_routes(Router& router, ControlledLan& target);

}  // namespace tools
