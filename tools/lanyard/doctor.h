#pragma once

#include <CLI/CLI.hpp>

namespace tools {

// `lanyard doctor [--to ADDRESS] [--json]`: whether a guest behind the NAT could reach the
// Internet, or one address, judged without a guest. Sets `status` when it runs: 0 reachable, 1 not.
// Throws Error out of CLI::App::parse(): EX_USAGE for a bad address, EX_OSERR when the kernel
// cannot be asked. `status` must outlive `app`.
void add_doctor_command(CLI::App& app, int& status);

}  // namespace tools
