#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "netstack/base/fd.h"

namespace driver {

constexpr int kExitProgramMissing = 127;  // as a shell says it
constexpr int kExitProgramUnusable = 126;
constexpr int kExitKilled = 128;  // and the signal's number

struct Spawned {
  pid_t pid;
  netstack::Fd pidfd;  // polls readable when the process has ended
};

// Starts a program in this process group and terminal, with our standard descriptors and those in
// `inherited`. The kernel kills it when the calling thread ends, so call this from the main thread.
// `environment`: "NAME=value" words. `output_to_stderr`: its standard output is our standard error.
// Throws netstack::Error when the program does not start.
Spawned spawn(const std::string& program, const std::vector<std::string>& argv,
              const std::vector<std::string>& environment, std::span<const netstack::Fd> inherited,
              bool output_to_stderr);

}  // namespace driver
