#include "tools/control/control_socket.h"

#include "tools/control/capture_routes.h"
#include "tools/control/flow_routes.h"
#include "tools/control/forward_routes.h"
#include "tools/control/guest_routes.h"
#include "tools/control/lan_metrics.h"
#include "tools/control/lan_routes.h"
#include "tools/control/lease_routes.h"
#include "tools/control/policy_routes.h"
#include "tools/control/reason_routes.h"

namespace tools {

void add_all_routes(Router& router, ControlledLan& target) {
  add_lan_routes(router, target);
  add_capture_routes(router, target);
  add_lease_routes(router, target);
  add_flow_routes(router, target);
  add_policy_routes(router, target);
  add_reason_routes(router, target);
  add_guest_routes(router, target);
  add_forward_routes(router, target);
  router.add("GET", "/metrics",
             [&target](const ControlRequest&) { return reply_with_metrics(all_metrics(target)); });
}

std::vector<MetricsWriter> all_metrics(const ControlledLan& target) {
  std::vector<MetricsWriter> all;
  add_lan_metrics(all, target);
  add_control_metrics(all, target);
  add_name_metrics(all, target);
  add_reason_metrics(all, target);
  add_flow_metrics(all, target);
  return all;
}

void publish_all_events(ControlledLan& target, EventStream& events) {
  target.events = &events;
  publish_lan_events(target, events);
  publish_lease_events(target, events);
  publish_flow_events(target, events);
  publish_reason_events(target, events);
  publish_forward_events(target, events);
}

void forget_all_events(ControlledLan& target) {
  target.events = nullptr;
  target.lan.ports().watch({});
  for (const RunningCapture& running : target.captures) running.capture->watch({});
  if (target.gateway == nullptr) return;
  target.gateway->names().watch_leases({});
  target.gateway->flows().watch({});
  target.gateway->reasons().observe({});
  target.gateway->forwards().watch({});
}

ControlSocket::ControlSocket(Lan& lan, netstack::Log& log, netstack::Gateway* gateway)
    : target_{.lan = lan, .log = log, .gateway = gateway}, events_(lan.loop().clock()) {
  add_all_routes(router_, target_);
  publish_all_events(target_, events_);
}

ControlSocket::~ControlSocket() {
  forget_all_events(target_);
}

void ControlSocket::show_capture(const std::string& file, netstack::Capture* capture) {
  if (capture != nullptr) list_capture(target_, file, *capture);
}

void ControlSocket::open(const std::string& path) {
  server_ = std::make_unique<HttpServer>(target_.lan.loop(), netstack::listen_unix(path), router_,
                                         events_, target_.counters);
}

}  // namespace tools
