#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/vde_switch/command.h"

namespace tools {

constexpr size_t kScriptMax_size = 1U << 20U;
constexpr unsigned kLoadDepth_max = 8;  // scripts that load scripts
// Of one load and all that it loads: a script that loads itself would grow as its lines to the
// power of kLoadDepth_max, and nobody is served meanwhile.
constexpr unsigned kLoadCommands_max = 16'384;
constexpr size_t kLoadReply_size = 8U << 20U;
constexpr uint64_t kLoadWait_ns = 2 * netstack::kSecond_ns;  // for the writers of pipes

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
  // Runs the lines of a file or a pipe, echoing each before its reply. 0 or an errno value; E2BIG
  // when a limit above ended it, with a line that says so; ETIMEDOUT when a pipe's writer did not
  // come to an end.
  int load(const std::string& path, Listener* listener, unsigned load_depth, Reply& out);

  std::string help(std::string_view prefix) const;

 private:
  const Command* find(std::string_view line) const;

  SwitchState& state_;
  unsigned load_left_count_ = 0;          // commands that the load under way may still run
  uint64_t load_deadline_ns_ = 0;         // of the load under way
  std::vector<const Command*> commands_;  // as help shows them
};

}  // namespace tools
