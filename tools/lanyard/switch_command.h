#pragma once

#include <CLI/CLI.hpp>

namespace tools {

// lanyard switch DIR: a LAN in the foreground, until a signal ends it. Sets `status`.
void add_switch_command(CLI::App& app, int& status);

}  // namespace tools
