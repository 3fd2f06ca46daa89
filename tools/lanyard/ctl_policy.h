#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/lanyard/ctl_request.h"

namespace tools {

// `lanyard ctl DIR policy`, and its allow, deny, remove and replace.
void add_policy(CLI::App& app, const std::shared_ptr<CtlOptions>& options);

}  // namespace tools
