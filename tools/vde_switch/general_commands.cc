// What does not belong to a menu of its own. `help` and `load` are the interpreter's; they stand
// here for their place in the list.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>

#include "tools/vde_switch/banner.h"
#include "tools/vde_switch/command.h"

namespace tools {

int first_int(std::string_view text) {
  const long value = std::strtol(std::string(text).c_str(), nullptr, 10);
  return static_cast<int>(std::clamp(value, long{INT_MIN}, long{INT_MAX}));
}

size_t read_ints(std::string_view text, std::span<int> out) {
  const std::string whole(text);
  const char* at = whole.c_str();
  for (size_t count = 0; count < out.size(); ++count) {
    char* end = nullptr;
    const long value = std::strtol(at, &end, 0);
    if (end == at) return count;
    out[count] = static_cast<int>(std::clamp(value, long{INT_MIN}, long{INT_MAX}));
    at = end;
  }
  return out.size();
}

std::string banner() {
  return fmt::format("VDE switch V.{}\n(C) the Lanyard authors - BSD 3-Clause - Lanyard {}\n",
                     kVdeVersion, LANYARD_VERSION);
}

namespace {

Answer show_sockets(const Call& call) {
  return {0, fmt::format("ctl dir {}\nstd mode 0{:03o}\n", call.state.lan.directory(),
                         call.state.options.socket_mode())};
}

Answer show_switch(const Call& call) {
  const SwitchState& state = call.state;
  const uint64_t age_ns = state.lan.loop().clock().monotonic_ns() - state.started_ns;
  std::string text =
      fmt::format("{}\npid {} MAC {} uptime {}\n", banner(), ::getpid(),
                  netstack::to_string(state.options.mac), age_ns / netstack::kSecond_ns);
  if (!state.options.management.empty()) {
    text += fmt::format("mgmt {} perm 0{:03o}\n", state.options.management,
                        state.options.management_mode);
  }
  return {0, text};
}

Answer log_out(const Call&) {
  return {.next = Next::kLogout};
}

Answer shut_down(const Call&) {
  return {.next = Next::kShutdown};
}

Answer by_interpreter(const Call&) {
  return {ENOSYS};
}

constexpr std::array kCommands = {
    Command{"ds", "============", "DATA SOCKETS", false, nullptr},
    Command{"ds/showinfo", "", "the directory and the mode of its sockets", true, show_sockets},
    Command{"help", "[arg]", "commands, or those that start with arg", true, by_interpreter},
    Command{"logout", "", "end this session", false, log_out},
    Command{"shutdown", "", "end the switch", false, shut_down},
    Command{"showinfo", "", "version, process, address and age", true, show_switch},
    Command{"load", "path", "run the commands of a file", false, by_interpreter},
};

}  // namespace

std::span<const Command> general_commands() {
  return kCommands;
}

}  // namespace tools
