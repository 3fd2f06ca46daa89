#pragma once

#include <string>

#include "tools/sandbox/sandbox.h"

namespace tools {

// From here on this process can make only the system calls that `plan` needs. One that is not on
// the list ends it by SIGSYS, with a line on standard error that names the call; one that is, but
// with an argument it must not have, fails with EACCES, EPERM or ENOSYS. Needs no new privileges
// given up before. Returns why it is not so; empty: done. Throws netstack::Error.
std::string lock_system_calls(const SandboxPlan& plan);

}  // namespace tools
