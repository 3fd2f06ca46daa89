#include "tools/control/text_table.h"

#include <algorithm>

namespace tools {

namespace {

constexpr const char* kBold = "\033[1m";
constexpr const char* kRed = "\033[31m";
constexpr const char* kPlain = "\033[0m";
constexpr size_t kGap_columns = 2;

size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U; }));
}

}  // namespace

std::string bold(const std::string& text, bool colours) {
  return colours ? kBold + text + kPlain : text;
}

std::string text_table(const std::vector<std::vector<TextCell>>& rows, bool colours) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t at = 0; at < row.size(); ++at) {
      widths[at] = std::max(widths[at], width_of(row[at].text));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    size_t blank_columns = 0;  // before the next cell; none at the end of a line
    for (size_t at = 0; at < row.size(); ++at) {
      const TextCell& cell = row[at];
      if (!cell.text.empty()) {
        line.append(std::exchange(blank_columns, 0), ' ');
        line += cell.alarms && colours ? kRed + cell.text + kPlain : cell.text;
      }
      blank_columns += widths[at] - width_of(cell.text) + kGap_columns;
    }
    text += bold(line, colours && &row == &rows.front()) + '\n';
  }
  return text;
}

}  // namespace tools
