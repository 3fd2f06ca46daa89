#pragma once

#include "tools/control/controlled_lan.h"
#include "tools/control/router.h"

namespace tools {

// The rules of where guests may go, looked at and changed. `target` is
// borrowed.
void add_policy_routes(Router& router, ControlledLan& target);

}  // namespace tools
