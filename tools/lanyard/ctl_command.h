#pragma once

#include <CLI/CLI.hpp>

namespace tools {

// `lanyard ctl DIR COMMAND`: looks at a running LAN and changes it.
void add_ctl_command(CLI::App& app, int& status);

}  // namespace tools
