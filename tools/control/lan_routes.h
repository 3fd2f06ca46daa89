#pragma once

#include "tools/control/controlled_lan.h"
#include "tools/control/event_stream.h"
#include "tools/control/router.h"

namespace tools {

// The switch's own: ports, their links, stations. `target` is borrowed.
void add_lan_routes(Router& router, ControlledLan& target);

// Publishes what happens to the LAN's ports.
void publish_lan_events(ControlledLan& target, EventStream& events);

}  // namespace tools
