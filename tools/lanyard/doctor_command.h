#pragma once

#include <CLI/CLI.hpp>

namespace tools {

// `lanyard doctor [--probe | --to ADDRESS | --lan DIR [--wait SECONDS]] [--json]`: looks at this
// host, judges one address, or looks at a running LAN.
// Sets `status` when it runs: 0 nothing is in the way, 1 something is. Throws Error out of
// CLI::App::parse(): EX_USAGE for a bad address, EX_OSERR when the kernel cannot be asked. `status`
// must outlive `app`.
void add_doctor_command(CLI::App& app, int& status);

}  // namespace tools
