#include "tools/doctor/page.h"

#include <fmt/format.h>
#include <strings.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace tools {

namespace {

constexpr size_t kTitleColumns = 16;

bool is_set(const char* value) {
  return value != nullptr && *value != '\0';
}

bool says_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (!is_set(value)) continue;
    return ::strcasestr(value, "utf-8") != nullptr || ::strcasestr(value, "utf8") != nullptr;
  }
  return false;
}

}  // namespace

PageStyle PageStyle::of_stdout() {
  return {.colour = ::isatty(STDOUT_FILENO) != 0 && !is_set(std::getenv("NO_COLOR")),
          .utf8 = says_utf8()};
}

std::string Page::mark(Mark mark) const {
  const auto at = static_cast<size_t>(mark);
  constexpr std::array kSigns{"✓", "!", "✗"};
  constexpr std::array kPlainSigns{"+", "!", "x"};
  constexpr std::array kColours{"\033[32m", "\033[33m", "\033[31m"};
  const std::string sign = style_.utf8 ? kSigns[at] : kPlainSigns[at];
  return style_.colour ? kColours[at] + sign + "\033[0m" : sign;
}

void Page::line(std::string_view text) {
  text_ += text;
  text_ += '\n';
}

void Page::finding(const Finding& finding) {
  line(fmt::format(
      "{} {:<{}}{}", mark(finding.mark()), finding.title, kTitleColumns,
      plain(finding.cause.empty() ? finding.fact
                                  : fmt::format("{} [{}]", finding.fact, finding.cause))));
  if (finding.ok || finding.cure.empty()) return;
  const std::string cure = fmt::format("Try: {}.\n", plain(finding.cure));
  if (said_.find(cure) != said_.npos) return;
  said_ += cure;
  text_ += fmt::format("  {:<{}}{}", "", kTitleColumns, cure);
}

void Page::findings(const Findings& findings) {
  for (const Finding& one : shown(findings)) finding(one);
}

std::string Page::plain(std::string_view words) const {
  std::string out;
  for (size_t at = 0; at < words.size(); ++at) {
    const auto byte = static_cast<unsigned char>(words[at]);
    const auto next = at + 1 < words.size() ? static_cast<unsigned char>(words[at + 1]) : 0U;
    const bool control = byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next < 0xa0);
    if (control || (byte >= 0x80 && !style_.utf8)) {
      out += '?';
    } else {
      out += words[at];
    }
  }
  return out;
}

std::string Page::stem(bool last) const {
  if (last) return "  ";
  return style_.utf8 ? "│ " : "| ";
}

std::string Page::branch(bool last) const {
  if (style_.utf8) return last ? "└─" : "├─";
  return last ? "`-" : "|-";
}

}  // namespace tools
