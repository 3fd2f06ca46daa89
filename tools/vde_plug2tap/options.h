#pragma once

#include <string>

#include "tools/lan/face.h"

namespace tools {

// The command line of vde_plug2tap(1).
struct Plug2TapOptions {
  FacePlug plug;
  std::string tap;    // the interface's name
  bool help = false;  // asked for; nothing else counts then
};

extern const char* const kPlug2TapUsage;

// Throws Error (kFaceUsageStatus). getopt(3) inside: not reentrant.
Plug2TapOptions parse_plug2tap_options(int argc, char** argv);

}  // namespace tools
