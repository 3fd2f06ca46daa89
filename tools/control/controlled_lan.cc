#include "tools/control/controlled_lan.h"

#include <fmt/format.h>

namespace tools {

netstack::Gateway& gateway_of(const ControlledLan& target, const ControlRequest& request) {
  if (target.gateway != nullptr) return *target.gateway;
  throw ControlRefusal(404, fmt::format("cannot {} {}: this LAN has no gateway; start its switch "
                                        "with --nat",
                                        request.method, request.path));
}

}  // namespace tools
