#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "tools/control/controlled_lan.h"
#include "tools/control/event_stream.h"
#include "tools/control/http_server.h"
#include "tools/control/metrics_page.h"
#include "tools/control/router.h"

namespace tools {

// The tables of all operations, events and counters, one matter after the other. A matter is a pair
// of files MATTER_routes.{h,cc}, and openapi/MATTER.json describes what it serves.
void add_all_routes(Router& router, ControlledLan& target);
void publish_all_events(ControlledLan& target, EventStream& events);
void forget_all_events(ControlledLan& target);  // before the stream ends
std::vector<MetricsWriter> all_metrics(const ControlledLan& target);

// DIR/control of a LAN.
class ControlSocket {
 public:
  // The LAN, log and gateway (null: none) are borrowed and outlive this.
  ControlSocket(Lan& lan, netstack::Log& log, netstack::Gateway* gateway);
  ~ControlSocket();

  // A capture that runs already; null: none.
  void show_capture(const std::string& file, netstack::Capture* capture);
  void open(const std::string& path);  // throws Error

  // The files that the process writes at its end, which no capture may take.
  void show_reports(std::function<std::string(const std::string& file)> option_of_file) {
    target_.option_of_file = std::move(option_of_file);
  }

  // How the process has locked itself in, which decides where captures can still be made.
  void show_sandbox(Sandbox sandbox) { target_.sandbox = std::move(sandbox); }

 private:
  ControlledLan target_;
  EventStream events_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace tools
