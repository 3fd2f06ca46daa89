#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/vde_switch/command.h"

namespace tools {

constexpr size_t kScriptMax_size = 1U << 20U;
constexpr unsigned kLoadDepth_max = 8;  // scripts that load scripts

// One line in, the bytes of its reply out. The grammar, with VDE's words:
//
//   [ 0000 DATA END WITH '.' LF  body lines  . LF ]  1ddd description LF
//
// where ddd is 000 or an errno value. Blanks before a command are skipped; an empty line and one
// that starts with # are no commands and have an empty reply. The command is the longest one whose
// path the line starts with; what follows, less blanks, is its argument. Data that is no command is
// answered, too (1038): there are clients that read one line whatever they said.
class Interpreter {
 public:
  struct Reply {
    std::string text;
    Next next = Next::kPrompt;
  };

  explicit Interpreter(SwitchState& state);

  Reply run(std::string_view line, Listener* listener, unsigned load_depth = 0);
  // Runs a file's lines, echoing each before its reply. 0 or an errno value.
  int load(const std::string& path, Listener* listener, unsigned load_depth, Reply& out);

  std::string help(std::string_view prefix) const;

 private:
  const Command* find(std::string_view line) const;

  SwitchState& state_;
  std::vector<const Command*> commands_;  // as help shows them
};

}  // namespace tools
