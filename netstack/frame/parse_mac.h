#pragma once

#include <optional>
#include <string_view>

#include "netstack/frame/mac.h"

namespace netstack {

// "52:54:00:12:34:56", in capitals or not.
std::optional<Mac> parse_mac(std::string_view text);

}  // namespace netstack
