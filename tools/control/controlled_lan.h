#pragma once

#include <functional>
#include <string>

#include "netstack/base/log.h"
#include "netstack/gateway/gateway.h"
#include "tools/control/router.h"
#include "tools/lan/lan.h"

namespace tools {

// What a control client can see of a LAN and do to it. Everything is borrowed.
struct ControlledLan {
  Lan& lan;
  netstack::Log& log;
  netstack::Gateway* gateway = nullptr;  // null: this LAN has none
  std::string capture_path = {};         // of the capture that runs; empty: none
  // Whether this process may still make a file there. Empty: it may.
  std::function<bool(const std::string& path)> lets_capture_to = {};
};

// For requests that only a gateway can meet. Throws ControlRefusal (404) when there is none.
netstack::Gateway& gateway_of(const ControlledLan& target, const ControlRequest& request);

}  // namespace tools
