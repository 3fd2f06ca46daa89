#pragma once

#include <cstdint>

#include "netstack/virtio/chain.h"

namespace netstack {

// Where a packed ring goes on that another back end, or we before we were killed, have used: the
// slot of the next chain to take, with the wrap counter in bit 15. `said`: what the front end says,
// in the same form. Chains in front of it that nobody would give back any more are given back: the
// guest is to be called.
uint16_t find_packed_position(const RingSetup& setup, uint16_t said);

}  // namespace netstack
