#pragma once

#include "tools/control/controlled_lan.h"
#include "tools/control/event_stream.h"
#include "tools/control/router.h"

namespace tools {

// Who was leased which address, and where in the LAN that guest is. `target` is borrowed.
void add_lease_routes(Router& router, ControlledLan& target);
void publish_lease_events(ControlledLan& target, EventStream& events);

}  // namespace tools
