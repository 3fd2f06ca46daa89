#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/capture/capture.h"
#include "netstack/config/gateway_config.h"
#include "tools/lan/lan.h"
#include "tools/lanyard/egress_files.h"
#include "tools/lanyard/policy_options.h"

namespace tools {

// The options that `switch` and `run` share.
struct LanOptions {
  std::string net;
  std::vector<std::string> forwards;
  std::vector<std::string> guest_forwards;
  std::vector<std::string> hosts;
  std::vector<std::string> leases;
  std::string domain = "lan";
  std::vector<std::string> search;
  std::vector<std::string> zones;
  std::string mtu;
  PolicyOptions policy;
  EgressFiles egress;
  std::string capture;
  netstack::CaptureChoice capture_choice;

  void add_to(CLI::App& app);
  // The options that only a gateway has a use for, as far as they were given: "--net, --host".
  std::string gateway_options() const;
  netstack::GatewayConfig gateway() const;  // throws Error
  // Opens the capture, if one is wanted, which is then the LAN's: start its writer when there may
  // be threads. Throws Error.
  netstack::Capture* open_capture(Lan& lan, netstack::Log& log) const;
  bool captures_to_stdout() const;  // then nothing else may be written there

 private:
  void add_names_to(CLI::App& app);
};

}  // namespace tools
