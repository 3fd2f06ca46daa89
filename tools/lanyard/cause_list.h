#pragma once

#include <string>

namespace tools {

// The table of causes for machines: `lanyard doctor --causes --json`. One array of objects.
std::string causes_as_json();

}  // namespace tools
