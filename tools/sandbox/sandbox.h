#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "netstack/base/log.h"

namespace tools {

// What a locked process may still do with a path. Each covers what lies beneath a directory, too.
enum class FileUse : uint8_t {
  kRead,             // read files, list directories
  kWrite,            // read and write files that are there: devices
  kMakeFiles,        // make, write and remove files and sockets: a LAN's directory, captures
  kRemoveFiles,      // take names away: a pid file's or a socket's directory
  kRemoveDirectory,  // take empty directories away: what a LAN's directory is in
};

struct FileGrant {
  std::string path;  // what is not there is left out
  FileUse use;
};

// What a process will do after it has locked itself in. All else is refused from then on.
struct SandboxPlan {
  bool internet = false;      // TCP, UDP and ping sockets, and questions to rtnetlink
  bool unix_streams = false;  // further UNIX stream sockets; the session bus is one such peer
  bool children = false;      // signals to the processes it has started, and news of their ends
  // Kept, as far as it has them; CAP_* of linux/capability.h. So is CAP_DAC_OVERRIDE when `files`
  // has a directory to make or remove things in whose modes refuse that: another user's.
  std::vector<int> capabilities;
  std::vector<FileGrant> files;
};

// What stands after lock_in(); before, and when nobody calls it, nothing does.
struct Sandbox {
  std::string why_off = "it has not locked itself in";  // empty: it has
  bool no_new_privileges = false;                       // by its own doing
  bool system_calls_are_locked = false;                 // seccomp
  int landlock_abi = 0;                                 // the kernel's; 0: files are not locked
  std::vector<std::string> writable = {};  // directories, canonical; told for kMakeFiles
  std::vector<std::string> gaps = {};      // a line for each wall that could not be built, and why

  bool files_are_locked() const { return landlock_abi > 0; }
  // May a file be made at `path`, as far as the sandbox is concerned?
  bool lets_make(const std::string& path) const;
  // "locked in: no new privileges, seccomp, Landlock ABI 4"
  std::string sentence() const;
};

constexpr const char* kSandboxVariable = "LANYARD_SANDBOX";

// False when the environment has LANYARD_SANDBOX=off, for debugging. Throws netstack::Error when it
// has anything but off and on: call it first, so that nothing has been touched by then.
bool sandbox_is_wanted();
constexpr const char* kSandboxIsUnwanted = "LANYARD_SANDBOX=off is set";  // as a why_off

// Drops the capabilities, gives up new privileges for ever, and closes the file system and the
// system calls to all that is not in the plan. Call it once, while there is only one thread:
// threads started before would stay outside. A kernel that lacks a part costs that part and is
// told in `gaps`. Throws netstack::Error when something refuses that should not.
Sandbox lock_in(const SandboxPlan& plan);

// The same unless LANYARD_SANDBOX=off; the gaps are lines in the log.
Sandbox lock_in_if_wanted(const SandboxPlan& plan, netstack::Log& log);

// The files that name lookups, logs and reasons need: resolv.conf, /proc, devices.
void add_host_files(SandboxPlan& plan, const std::string& resolv_conf);

// What a switch does in its directory, which is there, and when it takes that away. Root that
// serves plugs of other users gives them their sockets and reaches theirs: for that it keeps
// capabilities, with `others_may_plug` or in a directory that is not its own.
void add_lan_directory(SandboxPlan& plan, const std::string& directory, bool others_may_plug);

// A file or socket outside the LAN's directory whose name is taken away at the end; "": none.
void add_removal(SandboxPlan& plan, const std::string& path);

}  // namespace tools
