#pragma once

#include <string>
#include <vector>

namespace tools {

// Leaves this thread, for good, with at most the capabilities in `kept` (CAP_* of
// linux/capability.h), of those that it has; none of them is inherited by a program it could start.
// capabilities(7). Throws netstack::Error.
void drop_capabilities(const std::vector<int>& kept);

// True: without capabilities this thread could make and remove nothing in this directory, going by
// its modes and those on the way to it. Throws netstack::Error.
bool modes_refuse(const std::string& directory);

}  // namespace tools
