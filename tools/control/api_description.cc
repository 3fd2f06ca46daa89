#include "tools/control/api_description.h"

namespace tools {

nlohmann::json api_description() {
  nlohmann::json whole = nlohmann::json::object();
  for (const std::string_view part : kApiParts) whole.merge_patch(nlohmann::json::parse(part));
  return whole;
}

}  // namespace tools
