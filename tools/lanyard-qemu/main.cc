// lanyard-qemu: stands in the place of a QEMU binary. VDE networks of the command move to the
// fastest transport of the same LAN, where that LAN is Lanyard's; then this process becomes QEMU.
//
// Theory. exec keeps process id, descriptors and parent, so signals and exit status are QEMU's
// without a line of code. Whatever goes wrong before it, the command runs as it was given: a
// network that is slower is better than a guest that does not start.
//
//   LANYARD_QEMU            the QEMU to become: a path, or a name in PATH
//   LANYARD_QEMU_TRANSPORT  vhost-user, stream or vde in place of the fastest
//   LANYARD_QEMU_VERBOSE    not empty: say on stderr what was done, and why not more
//   LANYARD_QEMU_PASSED     set by us: the wrappers this process has been, so that two of them in
//                           PATH do not become each other for ever
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "driver/program.h"
#include "driver/qemu_features.h"
#include "driver/rewiring.h"
#include "driver/spawn.h"
#include "netstack/base/error.h"

namespace {

using driver::FileIdentity;
using netstack::Error;

constexpr const char* kPassedVariable = "LANYARD_QEMU_PASSED";
constexpr std::string_view kOwnName = "lanyard-qemu";

std::string environment(const char* name, const char* otherwise = "") {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

void say(const std::string& line) {
  std::fprintf(stderr, "lanyard-qemu: %s\n", line.c_str());
}

bool verbose() {
  return !environment("LANYARD_QEMU_VERBOSE").empty();
}

// "PID DEVICE.INODE …": another process's list, inherited, does not count.
std::vector<FileIdentity> passed_wrappers() {
  std::vector<FileIdentity> passed = {driver::file_identity("/proc/self/exe")};
  const std::string own = fmt::format("{} ", ::getpid());
  std::string text = environment(kPassedVariable);
  if (text.starts_with(own)) {
    text.erase(0, own.size());
    for (const char* at = text.c_str(); *at != '\0';) {
      char* end = nullptr;
      FileIdentity file;
      file.device = std::strtoull(at, &end, 10);
      if (*end != '.') break;
      file.inode = std::strtoull(end + 1, &end, 10);
      passed.push_back(file);
      at = *end == ' ' ? end + 1 : end;
    }
  }
  return passed;
}

void remember(const std::vector<FileIdentity>& passed) {
  std::string text = fmt::format("{}", ::getpid());
  for (const FileIdentity& file : passed) text += fmt::format(" {}.{}", file.device, file.inode);
  ::setenv(kPassedVariable, text.c_str(), 1);
}

std::string file_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

std::string not_ourselves(const std::string& path, const std::vector<FileIdentity>& passed) {
  if (std::ranges::find(passed, driver::file_identity(path)) != passed.end()) {
    throw Error(EX_CONFIG, fmt::format("cannot start QEMU: LANYARD_QEMU={} is this program; name "
                                       "QEMU's own binary there",
                                       path));
  }
  return driver::find_program(path, "");
}

// Throws Error when there is none.
std::string real_qemu(const std::string& own_name, const std::vector<FileIdentity>& passed) {
  const std::string path = environment("PATH", "/usr/bin:/bin");
  const std::string wanted = environment("LANYARD_QEMU");
  if (wanted.find('/') != wanted.npos) return not_ourselves(wanted, passed);
  std::string name = !wanted.empty()        ? wanted
                     : own_name != kOwnName ? own_name
                                            : driver::qemu_for_this_machine();
  std::string found = driver::find_next_program(name, path, passed);
  if (!found.empty()) return found;
  throw Error(driver::kExitProgramMissing,
              fmt::format("cannot start QEMU: no {} but this one is in PATH; name QEMU's binary in "
                          "LANYARD_QEMU",
                          name));
}

// Options after which QEMU only prints something.
bool asks_for_help(const driver::CommandLine& command) {
  for (const char* name : {"h", "help", "?", "version"}) {
    if (command.has(name)) return true;
  }
  return false;
}

// The words to start, and descriptors in them that QEMU must get.
struct Rewired {
  std::vector<std::string> argv;
  std::vector<netstack::Fd> inherited;
};

Rewired rewire(const std::vector<std::string>& argv, const std::string& qemu) {
  if (asks_for_help(driver::CommandLine(argv))) return {argv, {}};
  const std::string wanted = environment("LANYARD_QEMU_TRANSPORT");
  const auto forced = driver::transport_named(wanted);
  if (!wanted.empty() && !forced) {
    throw Error(EX_USAGE, fmt::format("LANYARD_QEMU_TRANSPORT={} is no transport", wanted));
  }
  driver::Rewiring wiring(argv, driver::Surroundings::of_this_host(qemu));
  for (const std::string& note : wiring.replug_vde_networks(forced)) {
    if (verbose()) say(note);
  }
  Rewired rewired{wiring.argv(), wiring.take_inherited()};
  for (const netstack::Fd& fd : rewired.inherited) ::fcntl(fd.get(), F_SETFD, 0);
  return rewired;
}

// Never the reason that a guest does not start.
Rewired rewire_or_keep(const std::vector<std::string>& argv, const std::string& qemu) {
  try {
    return rewire(argv, qemu);
  } catch (const std::exception& error) {
    if (verbose()) say(fmt::format("the command stays as it is: {}", error.what()));
  }
  return {argv, {}};
}

[[noreturn]] void become(const std::string& program, const std::vector<std::string>& argv) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::execv(program.c_str(), words.data());
  throw netstack::host_error(errno, "start " + program, "name QEMU's binary in LANYARD_QEMU",
                             driver::kExitProgramUnusable);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::vector<std::string> words(argv, argv + argc);
    if (words.empty()) words.emplace_back(kOwnName);
    const std::string own_name = file_name(words[0]);
    const auto passed = passed_wrappers();
    const std::string qemu = real_qemu(own_name, passed);
    if (own_name == kOwnName) words[0] = qemu;  // QEMU's own complaints should carry its name
    const Rewired rewired = rewire_or_keep(words, qemu);
    if (verbose()) say("starting:\n" + driver::shell_text(rewired.argv));
    remember(passed);
    become(qemu, rewired.argv);
  } catch (const Error& error) {
    say(error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    say(error.what());
    return EX_SOFTWARE;
  }
}
