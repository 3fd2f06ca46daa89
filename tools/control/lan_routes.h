#pragma once

#include <string>

#include "netstack/base/log.h"
#include "tools/control/event_stream.h"
#include "tools/control/router.h"
#include "tools/lan/lan.h"

namespace tools {

// What a control client can see of a LAN and do to it.
struct ControlledLan {
  Lan& lan;
  netstack::Log& log;
  std::string capture_path = {};  // of the capture that runs; empty: none
};

// The table of operations; openapi.json describes each of them. `target` is borrowed.
void add_lan_routes(Router& router, ControlledLan& target);

// Publishes what happens to the LAN's ports.
void publish_lan_events(Lan& lan, EventStream& events);

// Counters in Prometheus's text format 0.0.4.
std::string lan_metrics(const ControlledLan& target);

}  // namespace tools
