#include "tools/control/control_socket.h"

#include "tools/control/flow_routes.h"
#include "tools/control/forward_routes.h"
#include "tools/control/guest_routes.h"
#include "tools/control/lan_routes.h"
#include "tools/control/lease_routes.h"
#include "tools/control/policy_routes.h"
#include "tools/control/reason_routes.h"

namespace tools {

void add_all_routes(Router& router, ControlledLan& target) {
  add_lan_routes(router, target);
  add_lease_routes(router, target);
  add_flow_routes(router, target);
  add_policy_routes(router, target);
  add_reason_routes(router, target);
  add_guest_routes(router, target);
  add_forward_routes(router, target);
}

void publish_all_events(ControlledLan& target, EventStream& events) {
  publish_lan_events(target, events);
  publish_lease_events(target, events);
  publish_flow_events(target, events);
  publish_reason_events(target, events);
  publish_forward_events(target, events);
}

void forget_all_events(ControlledLan& target) {
  target.lan.ports().watch({});
  if (target.gateway == nullptr) return;
  target.gateway->names().watch_leases({});
  target.gateway->flows().watch({});
  target.gateway->reasons().observe({});
  target.gateway->forwards().watch({});
}

ControlSocket::ControlSocket(Lan& lan, netstack::Log& log, netstack::Gateway* gateway)
    : target_{lan, log, gateway}, events_(lan.loop().clock()) {
  add_all_routes(router_, target_);
  publish_all_events(target_, events_);
}

ControlSocket::~ControlSocket() {
  forget_all_events(target_);
}

void ControlSocket::open(const std::string& path, const std::string& capture_path) {
  target_.capture_path = capture_path;
  server_ = std::make_unique<HttpServer>(target_.lan.loop(), netstack::listen_unix(path), router_,
                                         events_);
}

}  // namespace tools
