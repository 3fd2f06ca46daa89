#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "netstack/gateway/gateway_config.h"

namespace tools {

// The options that `switch` and `run` share.
struct LanOptions {
  std::string net;
  std::vector<std::string> forwards;
  std::string capture;

  void add_to(CLI::App& app);
  netstack::GatewayConfig gateway() const;  // throws Error
};

}  // namespace tools
