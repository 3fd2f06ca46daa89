#pragma once

#include "tools/control/controlled_lan.h"
#include "tools/control/event_stream.h"
#include "tools/control/metrics_page.h"
#include "tools/control/router.h"

namespace tools {

// GET /reasons: why guests could not reach what. `target` is borrowed.
void add_reason_routes(Router& router, ControlledLan& target);

void add_reason_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target);

// The event "unreachable": what the log says, for programs.
void publish_reason_events(ControlledLan& target, EventStream& events);

}  // namespace tools
