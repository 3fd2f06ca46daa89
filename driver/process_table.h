#pragma once

#include <sys/types.h>

#include <string_view>
#include <vector>

namespace driver {

struct Process {
  pid_t pid;
  pid_t parent;
  bool zombie;  // has ended, and waits for its parent to ask how
};

// Snapshots of /proc. They may be old when they arrive: whoever acts on one looks again until
// nothing is left to do.

// Everything below `root`, zombies included, but for `except` and what is below that.
std::vector<Process> descendants(pid_t root, pid_t except);

// Every process whose environment, as it was at exec, holds `mark`. Those of other users cannot be
// read and are not found.
std::vector<pid_t> marked(std::string_view mark);

}  // namespace driver
