#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/lanyard/ctl_request.h"

namespace tools {

// `lanyard ctl DIR forward add|remove|list`.
void add_forward(CLI::App& app, const std::shared_ptr<CtlOptions>& options);

}  // namespace tools
