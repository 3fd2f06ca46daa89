#pragma once

#include <functional>
#include <string>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/capture/capture.h"
#include "netstack/gateway/gateway.h"
#include "tools/control/control_counters.h"
#include "tools/control/event_stream.h"
#include "tools/control/router.h"
#include "tools/lan/lan.h"
#include "tools/sandbox/sandbox.h"

namespace tools {

struct RunningCapture {
  unsigned id;  // from 1, never used again
  std::string file;
  netstack::Capture* capture;  // the LAN's
};

// What a control client can see of a LAN and do to it. Everything is borrowed.
struct ControlledLan {
  Lan& lan;
  netstack::Log& log;
  netstack::Gateway* gateway = nullptr;  // null: this LAN has none
  Sandbox sandbox = {};                  // what this process has locked itself out of
  EventStream* events = nullptr;         // null: nobody is told
  std::vector<RunningCapture> captures = {};
  unsigned next_capture_id = 1;
  // The option whose file this process writes there at its end, "--learn"; empty: none.
  std::function<std::string(const std::string& file)> option_of_file = {};
  ControlCounters counters = {};

  void publish(nlohmann::json event) const {
    if (events != nullptr) events->publish(std::move(event));
  }
};

// For requests that only a gateway can meet. Throws ControlRefusal (404) when there is none.
netstack::Gateway& gateway_of(const ControlledLan& target, const ControlRequest& request);

}  // namespace tools
