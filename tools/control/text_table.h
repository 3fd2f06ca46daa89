#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tools {

// Rows are written as lists of texts.
struct TextCell {
  TextCell(std::string cell_text, bool cell_alarms = false)  // NOLINT: converts
      : text(std::move(cell_text)), alarms(cell_alarms) {}
  TextCell(const char* cell_text) : text(cell_text) {}  // NOLINT: converts

  std::string text;     // UTF-8; each character is taken to be one column wide
  bool alarms = false;  // deserves a look
};

// In columns as wide as their widest cell, two blanks between them, a line each. The first row is
// the heading. With `colours`, for a terminal, it is bold and what alarms is red.
std::string text_table(const std::vector<std::vector<TextCell>>& rows, bool colours = false);

std::string bold(const std::string& text, bool colours);

}  // namespace tools
