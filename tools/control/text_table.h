#pragma once

#include <string>
#include <vector>

namespace tools {

// Rows of text in columns as wide as their widest cell, two blanks between
// them, a line each.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace tools
