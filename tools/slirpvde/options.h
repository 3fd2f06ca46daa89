#pragma once

#include <string>
#include <vector>

#include "netstack/config/gateway_config.h"
#include "tools/lan/face.h"

namespace tools {

// The command line of slirpvde(1).
struct SlirpVdeOptions {
  FacePlug plug;
  netstack::GatewayConfig gateway;
  std::vector<std::string> said;  // lines for the user: which X display leads where
  bool quiet = false;
  bool help = false;  // asked for; nothing else counts then
};

extern const char* const kSlirpVdeUsage;

// Throws Error: kFaceUsageStatus for what cannot be understood, kFaceFailureStatus for what this
// gateway does not carry. getopt(3) inside: not reentrant.
SlirpVdeOptions parse_slirpvde_options(int argc, char** argv);

}  // namespace tools
