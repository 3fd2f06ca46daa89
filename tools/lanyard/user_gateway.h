#pragma once

#include <string>

#include "driver/user_network.h"
#include "netstack/config/gateway_config.h"

namespace tools {

// Makes `config` the gateway that QEMU's own user network would have been: the same addresses,
// forwards and families. Returns why it cannot; `config` is then as before. `net_is_chosen`: the
// config's network was asked for by its user.
std::string stand_in_for(const driver::UserNetwork& user, bool net_is_chosen,
                         netstack::GatewayConfig& config);

}  // namespace tools
