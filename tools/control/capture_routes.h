#pragma once

#include <string>

#include "tools/control/controlled_lan.h"
#include "tools/control/router.h"

namespace tools {

constexpr size_t kCaptures_count = 8;  // at once: each has a thread and a ring of 16 MiB

// Captures of all frames, begun and ended while the LAN runs. `target` is borrowed.
void add_capture_routes(Router& router, ControlledLan& target);

// Puts it on the list, from where it tells of its troubles as events.
const RunningCapture& list_capture(ControlledLan& target, const std::string& file,
                                   netstack::Capture& capture);

}  // namespace tools
