#pragma once

#include <vector>

#include "tools/control/controlled_lan.h"
#include "tools/control/event_stream.h"
#include "tools/control/metrics_page.h"
#include "tools/control/router.h"

namespace tools {

constexpr size_t kFlowsShown_count = 256;       // of one GET /flows, unless ?limit= says otherwise
constexpr size_t kFlowsShown_count_max = 2048;  // more are refused

// Flows on record, and all that was reached for. `target` is borrowed.
void add_flow_routes(Router& router, ControlledLan& target);
// "flow-ended", "flow-denied" and "question-denied".
void publish_flow_events(ControlledLan& target, EventStream& events);

void add_flow_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target);

}  // namespace tools
