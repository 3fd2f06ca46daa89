#pragma once

#include "netstack/wire/ip_address.h"

namespace netstack {

// Whether this host itself has the address: only then can a socket be bound to it. Nothing is sent.
bool is_own_address(const IpAddress& address);

}  // namespace netstack
