#pragma once

#include <cstdint>
#include <string>

#include "netstack/config/host_forward.h"

namespace netstack {

// Who keeps a forward's place on the host, for the line that refuses it: "nginx (pid 123) listens
// there", "a process of user 1000 listens there, which cannot be looked into from here": another
// user's, or any once this process has locked itself in. Reads /proc/net/{tcp,udp,unix} for the
// socket and /proc/*/fd for its owner.
std::string describe_holder(const HostForward& forward);

// Whether a socket of this network namespace is bound to that path.
bool unix_path_in_use(const std::string& path);

}  // namespace netstack
