#pragma once

#include <string>
#include <vector>

#include "tools/sandbox/sandbox.h"

namespace tools {

struct FileLock {
  int abi = 0;      // Landlock's, of this kernel; 0: nothing is locked
  std::string gap;  // why not, and what to do; empty: all is
};

// From here on this thread can open, make and remove only what `grants` name; what is open stays
// open. Needs no new privileges given up before. Throws netstack::Error.
FileLock lock_files(const std::vector<FileGrant>& grants);

}  // namespace tools
