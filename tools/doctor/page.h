#pragma once

#include <string>
#include <string_view>

#include "tools/doctor/finding.h"

namespace tools {

// How a terminal, or a file, takes marks and words.
struct PageStyle {
  bool colour = false;  // ANSI escapes
  bool utf8 = false;    // ✓ ✗ │ else + x |

  // Colour on a terminal unless NO_COLOR is set (https://no-color.org); UTF-8 where LC_ALL,
  // LC_CTYPE or LANG, the first that is set, says so.
  static PageStyle of_stdout();
};

// A page of text for people.
class Page {
 public:
  explicit Page(const PageStyle& style) : style_(style) {}

  std::string mark(Mark mark) const;  // ✓ ! ✗, or + ! x
  void line(std::string_view text);   // as it is
  // "✓ IPv4 route    8.8.8.8 via …", and below it the cure, unless an earlier line said the same.
  void finding(const Finding& finding);
  void findings(const Findings& findings);  // as they are shown()

  // Words from peers, as they may stand on a page: control characters become '?', and so does what
  // is not ASCII where the page is.
  std::string plain(std::string_view words) const;
  // "├─" and "└─", or "|-" and "`-".
  std::string branch(bool last) const;
  std::string stem(bool last) const;  // what goes on below a branch: "│ ", or blanks

  const std::string& text() const { return text_; }

 private:
  PageStyle style_;
  std::string text_;
  std::string said_;  // cures, a line each
};

}  // namespace tools
