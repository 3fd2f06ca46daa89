#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace tools {

// lanyard run [options] -- qemu-system-x86_64 …: the driver. `guest_command` is what stood after
// "--"; it must outlive `app`, as must `status`, which becomes QEMU's.
void add_run_command(CLI::App& app, const std::vector<std::string>& guest_command, int& status);

}  // namespace tools
