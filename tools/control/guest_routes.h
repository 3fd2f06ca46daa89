#pragma once

#include "tools/control/controlled_lan.h"
#include "tools/control/router.h"

namespace tools {

// What guests showed of themselves to the gateway (netstack::GuestBook), and loops between ports:
// for those who look for what is wrong in a LAN. `target` is borrowed.
void add_guest_routes(Router& router, ControlledLan& target);

}  // namespace tools
