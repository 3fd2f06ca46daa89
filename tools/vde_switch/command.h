#pragma once

#include <span>
#include <string>
#include <string_view>

#include "netstack/base/clock.h"
#include "netstack/base/log.h"
#include "tools/lan/lan.h"
#include "tools/vde_switch/events.h"
#include "tools/vde_switch/options.h"

namespace tools {

// What the console's commands work on.
struct SwitchState {
  Lan& lan;
  netstack::Log& log;
  VdeSwitchOptions& options;
  EventBoard& events;
  uint64_t started_ns;  // on the loop's monotonic clock
};

// What follows a command: usually the prompt.
enum class Next : uint8_t { kPrompt, kLogout, kShutdown };

// A command's result as VDE's grammar has it: 0 or an errno value, shown as 1ddd, and a text.
struct Answer {
  int code = 0;
  std::string text = {};  // whole lines
  Next next = Next::kPrompt;
};

struct Call {
  SwitchState& state;
  std::string_view argument;  // without blanks around it
  Listener* listener;         // the session that asks; null: a script at start
  unsigned load_depth;        // scripts that load scripts
};

struct Command {
  std::string_view path;    // "port/print"
  std::string_view syntax;  // its arguments; those in [] may be left out
  std::string_view help;
  bool data;                   // its text is framed, also when it fails and is empty
  Answer (*run)(const Call&);  // null: a heading
};

// The menus, in the order in which help shows them.
std::span<const Command> general_commands();
std::span<const Command> debug_commands();
std::span<const Command> station_commands();  // hash/
std::span<const Command> tree_commands();     // fstp/
std::span<const Command> port_commands();
std::span<const Command> vlan_commands();

// --- arguments, read as VDE reads them ---
int first_int(std::string_view text);  // as atoi(3): garbage is 0, what does not fit is the nearest
// Reads integers in C's notation (0x, leading 0) until one is none; returns how many were read.
size_t read_ints(std::string_view text, std::span<int> out);
std::string_view without_blanks(std::string_view text);  // at either end

}  // namespace tools
