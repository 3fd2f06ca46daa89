// lanyard: a network for virtual machines, without root. Each subcommand is in a file of its own.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "netstack/base/error.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/lanyard/ctl_command.h"
#include "tools/lanyard/ctl_request.h"
#include "tools/lanyard/doctor_command.h"
#include "tools/lanyard/plug_command.h"
#include "tools/lanyard/run_command.h"
#include "tools/lanyard/switch_command.h"

namespace {

int fail(int status, const std::string& line) {
  std::fprintf(stderr, "lanyard: %s\n", line.c_str());
  return status;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// What asks for help on the subcommand that was meant, or on the program.
std::string named(const CLI::App& app) {
  std::string words = "lanyard";
  const CLI::App* at = &app;
  for (auto meant = at->get_subcommands(); !meant.empty(); meant = at->get_subcommands()) {
    if (at->get_name() == "ctl") words += " DIR";
    at = meant.front();
    words += ' ' + at->get_name();
  }
  return words;
}

// What stands after "--" is the guest's command and none of our business.
std::vector<std::string> split_guest_command(std::vector<std::string>& arguments) {
  const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
  if (dashes == arguments.end()) return {};
  std::vector<std::string> command(dashes + 1, arguments.end());
  arguments.erase(dashes, arguments.end());
  return command;
}

int run(std::vector<std::string> arguments) {
  int status = EX_OK;
  CLI::App app(
      "A network for virtual machines, without root: a switch, a gateway that says why\n"
      "something is unreachable, captures, and a driver that plugs QEMU in.",
      "lanyard");
  app.set_version_flag("--version", "lanyard " LANYARD_VERSION);
  const std::vector<std::string> guest_command = split_guest_command(arguments);
  tools::add_switch_command(app, status);
  tools::add_run_command(app, guest_command, status);
  tools::add_plug_command(app, status);
  tools::add_doctor_command(app, status);
  tools::add_ctl_command(app, status);
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants a vector
    app.parse(std::move(arguments));
  } catch (const CLI::Success& asked_for_help) {
    std::ostringstream text;
    app.exit(asked_for_help, text, text);
    tools::write_out(text.str());
    return EX_OK;
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> extras = app.remaining(true);
    const std::string text = "cannot understand the command line at \"" + extras.front() + "\"";
    if (guest_command.empty() && app.got_subcommand("run") && !extras.front().starts_with('-')) {
      return fail(EX_USAGE, text + ": the QEMU command stands behind --, as in `lanyard run -- " +
                                extras.front() + " …`");
    }
    return fail(EX_USAGE, text + "; `" + named(app) + " --help` shows what there is");
  } catch (const CLI::ParseError& error) {
    return fail(EX_USAGE, "cannot understand the command line: " + first_line(error.what()) +
                              "; `" + named(app) + " --help` shows what there is");
  }
  if (app.get_subcommands().empty()) {
    return fail(EX_USAGE,
                "cannot start: no subcommand is given; `lanyard --help` shows what there is");
  }
  return status;
}

// Every plug, echo and NAT flow takes a descriptor, and the usual soft limit of 1024 is soon
// reached.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  tools::open_standard_descriptors();
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);  // a peer that left is an error code, not a signal
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file that may not grow (ulimit -f)
  try {
    return run({argv + 1, argv + argc});
  } catch (const netstack::Error& error) {
    return fail(error.exit_code(), error.what());
  } catch (const nlohmann::json::exception&) {  // of `ctl` alone: the doctor bears any answer
    const netstack::Error error = tools::strange_answer();
    return fail(error.exit_code(), error.what());
  } catch (const std::exception& error) {
    return fail(EX_SOFTWARE, error.what());
  }
}
