#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tools {

constexpr size_t kCommandLine_size = 4096;  // longer lines are refused whole

// Cuts what was read into commands. A line feed ends one. Stock terminals (vdeterm) send commands
// without it, and a client may send several at once or one in pieces, so what is left without line
// feed is judged:
//
//   read                      commands
//   "showinfo\nhelp ds\n"     showinfo | help ds
//   "showinfo"                showinfo        complete: nothing longer starts with it
//   "vlan/create"             (tail)          an argument is still to come
//   "vla"                     (tail)
//
// A tail becomes a command when the rest of it comes, or when the caller has waited for that long
// enough (take_tail). So a command in pieces is still one, and a typing error in a terminal that
// sends no line feeds is still answered.
class CommandSplitter {
 public:
  using IsComplete = std::function<bool(std::string_view)>;
  struct Line {
    std::string text;
    bool too_long = false;  // the text is missing
  };

  explicit CommandSplitter(IsComplete is_complete) : is_complete_(std::move(is_complete)) {}

  // `more_follows`: the read took all it could, so a cut at its end means nothing.
  void feed(std::string_view bytes, bool more_follows);
  std::optional<Line> next();
  bool has_tail() const { return !text_.empty(); }  // once next() has nothing
  std::optional<Line> take_tail();

 private:
  Line cut(size_t size, size_t consumed);

  IsComplete is_complete_;
  std::string text_;
  bool more_follows_ = false;
  bool skipping_ = false;  // the rest of a line that was too long
};

}  // namespace tools
