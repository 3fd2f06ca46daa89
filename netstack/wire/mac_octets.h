#pragma once

#include <array>
#include <cstdint>

namespace netstack {

// A link-layer address inside a message, in wire order: what Mac::octets is to a frame.
using MacOctets = std::array<uint8_t, 6>;

}  // namespace netstack
