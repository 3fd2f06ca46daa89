#pragma once

#include <string>

namespace netstack {

// The table of causes as Markdown: what CAUSES.md holds and `lanyard doctor --causes` prints.
std::string causes_as_markdown();

}  // namespace netstack
