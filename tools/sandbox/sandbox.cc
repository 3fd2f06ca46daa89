// Theory. The packets of a guest are taken apart by C code that has been broken before (libslirp),
// and by ours. Whoever gets a foothold there shall find an empty room: once everything is set up,
// and before the first frame is looked at, the process gives away what it will not need again.
//
//   wall            file                what it stops                         kernel
//   ─────────────── ─────────────────── ───────────────────────────────────── ────────────────────
//   capabilities    capabilities.cc     what root may do beyond files it owns any
//   no new privs    here                set-user-ID programs and file         3.5
//                                       capabilities giving them back
//   file access     file_access.cc      reading keys, writing programs        5.13 with Landlock
//   system calls    system_calls.cc     execve, ptrace, raw and packet        3.17 with seccomp
//                                       sockets, the kernel's rarely used half
//
// What an attacker in libslirp can still do: use the network as this host does, loopback services
// included, because that is what a NAT gateway is; read and change this LAN's frames; read what
// the plan names, which is resolv.conf, the world-readable part of /proc and, unless root runs
// the switch, what its user may read in /etc; write to captures that are open and into the LAN's
// directory; remove files beside a pid file or a socket outside it; exhaust memory and descriptors
// of this process. He cannot start a program, read the user's files, open a UNIX stream socket
// (session bus, X11, container daemons), look into another process or signal one that is not a
// child, or get a capability.
//
// Alternatives refused: namespaces with an empty root (user namespaces are switched off on many
// machines, and the LAN's directory must be seen by others); a process of its own for libslirp
// (each frame would cross a boundary twice); SELinux or AppArmor profiles (an installation step, by
// root).
//
// A sanitizer build has no system call filter: its runtime calls what nobody else does. The gap is
// told like every other.
#include "tools/sandbox/sandbox.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "tools/sandbox/capabilities.h"
#include "tools/sandbox/file_access.h"
#include "tools/sandbox/system_calls.h"

namespace tools {

namespace fs = std::filesystem;

namespace {

void give_up_new_privileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    throw netstack::host_error(errno, "give up new privileges",
                               fmt::format("set {}=off to go without a sandbox", kSandboxVariable));
  }
}

// Threads keep the privileges that they have, so there may be none yet.
bool is_alone() {
  std::error_code unreadable;
  size_t count = 0;
  for (auto task = fs::directory_iterator("/proc/self/task", unreadable);
       !unreadable && task != fs::directory_iterator(); task.increment(unreadable)) {
    ++count;
  }
  return count <= 1;  // 0: no /proc
}

// What was made as root in another user's directory can be removed there as root only.
std::vector<int> capabilities_for(const SandboxPlan& plan) {
  std::vector<int> kept = plan.capabilities;
  const bool needs_override = std::ranges::any_of(plan.files, [](const FileGrant& grant) {
    const bool removes = grant.use != FileUse::kRead && grant.use != FileUse::kWrite;
    return removes && modes_refuse(grant.path);
  });
  if (needs_override) kept.push_back(CAP_DAC_OVERRIDE);
  return kept;
}

std::string canonical(const std::string& path) {
  std::error_code refusal;
  return fs::weakly_canonical(fs::absolute(path, refusal), refusal);
}

}  // namespace

bool sandbox_is_wanted() {
  const char* value = std::getenv(kSandboxVariable);
  const std::string_view text = value != nullptr ? value : "";
  if (text == "off") return false;
  if (text.empty() || text == "on") return true;
  throw netstack::Error(EX_USAGE,
                        fmt::format("cannot understand {}={}: it is neither on nor off; set it to "
                                    "off to go without a sandbox, or leave it out",
                                    kSandboxVariable, text));
}

bool Sandbox::lets_make(const std::string& path) const {
  if (!files_are_locked()) return true;
  const std::string folder = fs::path(canonical(path)).parent_path();
  return std::ranges::any_of(writable, [&](const std::string& open) {
    return folder == open || folder.starts_with(open.ends_with('/') ? open : open + '/');
  });
}

std::string Sandbox::sentence() const {
  if (!why_off.empty()) return "not locked in: " + why_off;
  return fmt::format("locked in{}: {}, {}, {}", gaps.empty() ? "" : ", with gaps",
                     no_new_privileges ? "no new privileges" : "new privileges possible",
                     system_calls_are_locked ? "seccomp" : "no seccomp",
                     files_are_locked() ? fmt::format("Landlock ABI {}", landlock_abi)
                                        : std::string("no Landlock"));
}

Sandbox lock_in(const SandboxPlan& plan) {
  netstack::check(is_alone(), "a process locks itself in before it has threads");
  Sandbox sandbox{.why_off = {}};
  const auto tell = [&](const std::string& gap) {
    if (!gap.empty()) sandbox.gaps.push_back("the sandbox is incomplete: " + gap);
  };
  for (const FileGrant& grant : plan.files) {
    if (grant.use != FileUse::kMakeFiles) continue;
    std::string place = canonical(grant.path);
    const bool known = std::ranges::find(sandbox.writable, place) != sandbox.writable.end();
    if (!known) sandbox.writable.push_back(std::move(place));
  }
  drop_capabilities(capabilities_for(plan));
  give_up_new_privileges();
  sandbox.no_new_privileges = true;
  const FileLock files = lock_files(plan.files);
  sandbox.landlock_abi = files.abi;
  tell(files.gap);
  const std::string call_gap = lock_system_calls(plan);  // last: it refuses what the others need
  sandbox.system_calls_are_locked = call_gap.empty();
  tell(call_gap);
  return sandbox;
}

Sandbox lock_in_if_wanted(const SandboxPlan& plan, netstack::Log& log) {
  if (!sandbox_is_wanted()) return {.why_off = kSandboxIsUnwanted};
  Sandbox sandbox = lock_in(plan);
  for (const std::string& gap : sandbox.gaps) log.line(gap);
  return sandbox;
}

// Who replaces resolv.conf renames a new file into its place, so its directory must be readable.
// /etc is, for all but root: what it guards is guarded by file modes, which root passes.
void add_host_files(SandboxPlan& plan, const std::string& resolv_conf) {
  plan.files.push_back({resolv_conf, FileUse::kRead});
  for (const std::string& path : {resolv_conf, canonical(resolv_conf)}) {
    const std::string folder = fs::path(path).parent_path();
    if (folder != "/etc" || ::geteuid() != 0) plan.files.push_back({folder, FileUse::kRead});
  }
  for (const char* path : {"/proc", "/dev/urandom", "/dev/random"}) {
    plan.files.push_back({path, FileUse::kRead});
  }
  plan.files.push_back({"/dev/null", FileUse::kWrite});
}

void add_lan_directory(SandboxPlan& plan, const std::string& directory, bool others_may_plug) {
  plan.files.push_back({directory, FileUse::kMakeFiles});
  plan.files.push_back({fs::path(canonical(directory)).parent_path(), FileUse::kRemoveDirectory});
  struct stat status {};
  const bool own = ::stat(directory.c_str(), &status) == 0 && status.st_uid == ::geteuid();
  if (!own || others_may_plug) {
    for (const int bit : {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER}) {
      plan.capabilities.push_back(bit);
    }
  }
}

void add_removal(SandboxPlan& plan, const std::string& path) {
  if (path.empty()) return;
  plan.files.push_back({fs::path(canonical(path)).parent_path(), FileUse::kRemoveFiles});
}

}  // namespace tools
