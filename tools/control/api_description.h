#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

namespace tools {

// The texts of openapi/*.json, one part per matter, which the build takes into the program.
extern const std::vector<std::string_view> kApiParts;

// The OpenAPI description of the control socket: the parts put together.
nlohmann::json api_description();

}  // namespace tools
