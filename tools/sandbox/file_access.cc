// Landlock (https://docs.kernel.org/userspace-api/landlock.html): a process forbids itself what it
// names as handled, all of it here, and allows parts of that again beneath the paths that it holds
// open. A rule is bound to a file, not to its name: one that is put in its place is another file,
// so what gets replaced needs a rule for its directory.
//
// Not restricted: stat, chmod, chown, chdir, and connecting to a UNIX socket by its path (a VDE
// plug's may be anywhere; stream sockets are held back by the other wall, in system_calls.cc).
//
// Network ports are left free, since a gateway calls any. So are abstract UNIX sockets, which a VDE
// client may have. Signals are refused by the system call filter already.
//
// The kernel's interface grows; what a kernel does not know cannot be handled. Its header may be
// older than the kernel, so the numbers are written down here.
#include "tools/sandbox/file_access.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"

namespace tools {

namespace {

// Numbers of system calls since 5.10 are the same everywhere.
constexpr long kCreateRuleset = 444;
constexpr long kAddRule = 445;
constexpr long kRestrictSelf = 446;
constexpr unsigned kAskVersion = 1;  // LANDLOCK_CREATE_RULESET_VERSION
constexpr int kRulePathBeneath = 1;  // LANDLOCK_RULE_PATH_BENEATH

enum Right : uint64_t {
  kExecute = 1U << 0U,
  kWriteFile = 1U << 1U,
  kReadFile = 1U << 2U,
  kReadDirectory = 1U << 3U,
  kRemoveDirectory = 1U << 4U,
  kRemoveFile = 1U << 5U,
  kMakeCharacterDevice = 1U << 6U,
  kMakeDirectory = 1U << 7U,
  kMakeRegular = 1U << 8U,
  kMakeSocket = 1U << 9U,
  kMakeFifo = 1U << 10U,
  kMakeBlockDevice = 1U << 11U,
  kMakeSymbolicLink = 1U << 12U,
  kRefer = 1U << 13U,        // since ABI 2
  kTruncate = 1U << 14U,     // since ABI 3
  kDeviceIoctl = 1U << 15U,  // since ABI 5
};
constexpr uint64_t kRightsOfFiles = kExecute | kWriteFile | kReadFile | kTruncate | kDeviceIoctl;

// struct landlock_ruleset_attr, as far as every ABI has it.
struct RulesetWire {
  uint64_t handled_access_fs;
};
// struct landlock_path_beneath_attr
struct [[gnu::packed]] PathBeneathWire {
  uint64_t allowed_access;
  int32_t parent_fd;
};
static_assert(sizeof(RulesetWire) == 8 && sizeof(PathBeneathWire) == 12);

uint64_t rights_known_to(long abi) {
  uint64_t rights = kRefer - 1U;
  if (abi >= 2) rights |= kRefer;
  if (abi >= 3) rights |= kTruncate;
  if (abi >= 5) rights |= kDeviceIoctl;
  return rights;
}

uint64_t rights_for(FileUse use) {
  switch (use) {
    case FileUse::kRead:
      return kReadFile | kReadDirectory;
    case FileUse::kWrite:
      return kReadFile | kWriteFile;
    case FileUse::kMakeFiles:
      return kReadFile | kReadDirectory | kWriteFile | kTruncate | kMakeRegular | kMakeSocket |
             kRemoveFile;
    case FileUse::kRemoveFiles:
      return kRemoveFile;
    case FileUse::kRemoveDirectory:
      return Right::kRemoveDirectory;
  }
  return 0;
}

netstack::Error refused(const std::string& tried) {
  return netstack::host_error(errno, tried, "set LANYARD_SANDBOX=off to go without a sandbox");
}

void allow(int ruleset, const FileGrant& grant, uint64_t known) {
  const netstack::Fd place(::open(grant.path.c_str(), O_PATH | O_CLOEXEC));
  struct stat what {};
  if (!place || ::fstat(place.get(), &what) != 0) return;  // not there: nothing to allow
  uint64_t rights = rights_for(grant.use) & known;
  if (!S_ISDIR(what.st_mode)) rights &= kRightsOfFiles;
  if (rights == 0) return;
  const PathBeneathWire rule{rights, place.get()};
  if (::syscall(kAddRule, ruleset, kRulePathBeneath, &rule, 0) != 0) {
    throw refused(fmt::format("let the sandbox use {}", grant.path));
  }
}

}  // namespace

FileLock lock_files(const std::vector<FileGrant>& grants) {
  const long abi = ::syscall(kCreateRuleset, nullptr, 0, kAskVersion);
  if (abi <= 0) {
    return {0, fmt::format("this kernel has no Landlock ({}), so only file modes guard the files "
                           "of this user; boot with lsm=landlock,… or take Linux 5.13 or newer",
                           netstack::errno_text(errno))};
  }
  const RulesetWire rules{rights_known_to(abi)};
  const netstack::Fd ruleset(static_cast<int>(::syscall(kCreateRuleset, &rules, sizeof rules, 0)));
  if (!ruleset) throw refused("make a Landlock rule set");
  for (const FileGrant& grant : grants) allow(ruleset.get(), grant, rules.handled_access_fs);
  if (::syscall(kRestrictSelf, ruleset.get(), 0) != 0) throw refused("lock the file system");
  return {static_cast<int>(abi), {}};
}

}  // namespace tools
