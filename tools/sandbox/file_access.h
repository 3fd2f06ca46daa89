#pragma once

#include <string>
#include <vector>

#include "tools/sandbox/sandbox.h"

namespace tools {

// From here on this thread can open, make and remove only what `grants` name; what is open stays
// open. Needs no new privileges given up before. Returns why it is not so: a kernel without
// Landlock; empty: done. Throws netstack::Error.
std::string lock_files(const std::vector<FileGrant>& grants);

}  // namespace tools
