#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/config/gateway_config.h"
#include "tools/lan/lan.h"
#include "tools/sandbox/sandbox.h"

namespace tools {

// How `switch`, `run` and `plug` lock themselves in when all is set up.
struct LockOptions {
  bool off = false;
  std::vector<std::string> capture_directories;
  std::vector<std::string> output_directories;  // where files are written at the end

  void add_to(CLI::App& app);
  void add_capture_directories_to(CLI::App& app);
};

// All say in the log what could not be locked. Call them before there are threads.
Sandbox lock_switch(const LockOptions& options, const Lan& lan,
                    const netstack::GatewayConfig* gateway,  // null: none
                    const std::vector<std::string>& further_sockets, netstack::Log& log);
// What is open is all that it needs.
void lock_plug(const LockOptions& options, netstack::Log& log);
// After the guest was started: it stays outside, and may be signalled. `control`: the directory in
// which its LAN is steered; "": none.
Sandbox lock_run(const LockOptions& options, const netstack::GatewayConfig& gateway,
                 const std::string& control, netstack::Log& log);

}  // namespace tools
