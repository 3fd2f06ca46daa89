#pragma once

#include "tools/lan/background.h"
#include "tools/vde_switch/options.h"

namespace tools {

// How a switch ended: the exit status, or the signal to end by.
struct VdeSwitchEnd {
  int status = 0;
  int signal = 0;
};

// Sets the switch up, runs it until it is asked to end, and takes everything down again. Throws
// Error with the exit status vde_switch has: 255 where the directory cannot be used, 1 for the pid
// file.
VdeSwitchEnd run_vde_switch(VdeSwitchOptions options, FaceLog& log);

}  // namespace tools
