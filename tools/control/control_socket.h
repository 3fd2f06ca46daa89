#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "tools/control/controlled_lan.h"
#include "tools/control/event_stream.h"
#include "tools/control/http_server.h"
#include "tools/control/router.h"

namespace tools {

// The table of all operations and all events, one matter after the other. A matter is a pair of
// files MATTER_routes.{h,cc}, and openapi/MATTER.json describes what it serves.
void add_all_routes(Router& router, ControlledLan& target);
void publish_all_events(ControlledLan& target, EventStream& events);
void forget_all_events(ControlledLan& target);  // before the stream ends

// DIR/control of a LAN.
class ControlSocket {
 public:
  // The LAN, log and gateway (null: none) are borrowed and outlive this.
  ControlSocket(Lan& lan, netstack::Log& log, netstack::Gateway* gateway);
  ~ControlSocket();

  // `capture_path`: of the capture that runs already; empty: none. Throws Error.
  void open(const std::string& path, const std::string& capture_path);

  // Who says where captures can still be made, once the process has locked itself in.
  void lets_capture_to(std::function<bool(const std::string& path)> ask) {
    target_.lets_capture_to = std::move(ask);
  }

 private:
  ControlledLan target_;
  EventStream events_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace tools
