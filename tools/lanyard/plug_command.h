#pragma once

#include <CLI/CLI.hpp>

namespace tools {

// lanyard plug --packet INTERFACE DIR, lanyard plug --tap INTERFACE DIR: joins an interface of this
// machine to a LAN, in the foreground, until a signal or until either is gone. Sets `status`.
void add_plug_command(CLI::App& app, int& status);

}  // namespace tools
