#pragma once

#include "tools/control/controlled_lan.h"
#include "tools/control/event_stream.h"
#include "tools/control/router.h"

namespace tools {

// Host ports that lead into guests: looked at, added, removed. `target` is borrowed.
void add_forward_routes(Router& router, ControlledLan& target);
void publish_forward_events(ControlledLan& target, EventStream& events);

}  // namespace tools
