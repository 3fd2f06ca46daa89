#include "tools/vde_switch/interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "netstack/base/error.h"
#include "netstack/base/read_text.h"

namespace tools {

namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string code_line(int code) {
  return fmt::format("1{:03} {}\n", code, netstack::errno_text(code));
}

}  // namespace

std::string_view without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

Interpreter::Interpreter(SwitchState& state) : state_(state) {
  for (const auto menu : {general_commands(), debug_commands(), station_commands(), tree_commands(),
                          port_commands(), vlan_commands()}) {
    for (const Command& command : menu) commands_.push_back(&command);
  }
}

const Command* Interpreter::find(std::string_view line) const {
  const Command* longest = nullptr;
  for (const Command* command : commands_) {
    if (command->run == nullptr || !line.starts_with(command->path)) continue;
    if (longest == nullptr || command->path.size() > longest->path.size()) longest = command;
  }
  return longest;
}

Interpreter::Reply Interpreter::run(std::string_view line, Listener* listener,
                                    unsigned load_depth) {
  line = without_blanks(line);
  if (line.empty() || line[0] == '#') return {};
  const Command* command = find(line);
  if (command == nullptr) return {code_line(ENOSYS)};
  const Call call{state_, without_blanks(line.substr(command->path.size())), listener, load_depth};

  if (command->path == "help") {
    return {fmt::format("0000 DATA END WITH '.'\n{}.\n{}", help(call.argument), code_line(0))};
  }
  if (command->path == "load") {
    Reply reply;
    const int code = load(std::string(call.argument), listener, load_depth, reply);
    if (reply.next != Next::kShutdown) reply.text += code_line(code);
    return reply;
  }
  const Answer answer = command->run(call);
  if (answer.next != Next::kPrompt) return {{}, answer.next};
  if (!command->data) return {answer.text + code_line(answer.code)};
  return {fmt::format("0000 DATA END WITH '.'\n{}.\n{}", answer.text, code_line(answer.code))};
}

int Interpreter::load(const std::string& path, Listener* listener, unsigned load_depth,
                      Reply& out) {
  if (path.empty()) return ENOENT;
  if (load_depth == kLoadDepth_max) return ELOOP;
  netstack::Clock& clock = state_.lan.loop().clock();
  if (load_depth == 0) {
    load_left_count_ = kLoadCommands_max;
    load_deadline_ns_ = clock.monotonic_ns() + kLoadWait_ns;
  }
  std::string script;
  const int refusal = netstack::read_text(path, script, kScriptMax_size, clock, load_deadline_ns_);
  if (refusal != 0) return refusal;
  std::string_view rest = script;
  while (!rest.empty() && out.next != Next::kShutdown) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    out.text += fmt::format("vde[{}]: {}\n", path, line);
    if (load_left_count_ == 0 || out.text.size() > kLoadReply_size) {
      load_left_count_ = 0;  // for those that loaded this one, too
      out.text += fmt::format(
          "vde[{}]: stopped here: one load may run {} commands and answer {} "
          "bytes; load fewer at a time\n",
          path, kLoadCommands_max, kLoadReply_size);
      return E2BIG;
    }
    --load_left_count_;
    const Reply reply = run(line, listener, load_depth + 1);
    out.text += reply.text;
    if (reply.next == Next::kShutdown) out.next = reply.next;  // a script has no session to end
  }
  return 0;
}

// Clients build their completion from the first column between the dashes and the dot.
std::string Interpreter::help(std::string_view prefix) const {
  std::string text = fmt::format("{:<18} {:<15} {}\n{:<18} {:<15} {}\n", "COMMAND PATH", "SYNTAX",
                                 "HELP", "------------", "--------------", "------------");
  for (const Command* command : commands_) {
    if (!command->path.starts_with(prefix)) continue;
    text += fmt::format("{:<18} {:<15} {}\n", command->path, command->syntax, command->help);
  }
  return text;
}

}  // namespace tools
