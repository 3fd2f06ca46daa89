#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tools {

constexpr size_t kCommandLine_size = 4096;  // longer lines are refused whole

// Cuts what was read into commands. A line feed ends one; how it was cut into reads means nothing:
//
//   read                      commands
//   "showinfo\nhelp ds\n"     showinfo | help ds
//   "vlan/create 4", "2\n"    vlan/create 42
//   "showinfo"                (tail)
//
// Stock terminals (vdeterm) send commands without line feed. So a tail becomes a command when the
// caller has waited for its rest long enough (take_tail).
//
// Refused: to run a tail at once when it is a command that lacks nothing. "vlan/create 4" lacks
// nothing, and may be the first part of "vlan/create 42".
class CommandSplitter {
 public:
  struct Line {
    std::string text;
    bool too_long = false;  // the text is missing
  };

  void feed(std::string_view bytes);
  std::optional<Line> next();
  bool has_tail() const { return !text_.empty(); }  // once next() has nothing
  bool saw_line_feed() const { return saw_line_feed_; }
  std::optional<Line> take_tail();

 private:
  Line cut(size_t size, size_t consumed);

  std::string text_;
  bool saw_line_feed_ = false;  // the peer ends its commands with them
  bool skipping_ = false;       // the rest of a line that was too long
};

}  // namespace tools
