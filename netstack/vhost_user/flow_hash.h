#pragma once

#include <cstdint>

#include "netstack/frame/frame.h"

namespace netstack {

// The same for all frames of one flow in one direction: IP addresses, protocol and ports where a
// frame has them, else the Ethernet addresses. Not secret and not collision-free; it only spreads.
uint32_t flow_hash(const Frame& frame);

}  // namespace netstack
