#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/gateway/gateway_config.h"
#include "tools/lan/lan.h"

namespace tools {

// The options that `switch` and `run` share.
struct LanOptions {
  std::string net;
  std::vector<std::string> forwards;
  std::string capture;

  void add_to(CLI::App& app);
  netstack::GatewayConfig gateway() const;                 // throws Error
  void start_capture(Lan& lan, netstack::Log& log) const;  // if one is wanted; throws Error
  bool captures_to_stdout() const;                         // then nothing else may be written there
};

}  // namespace tools
