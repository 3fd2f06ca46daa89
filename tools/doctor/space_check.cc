#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "netstack/base/error.h"
#include "netstack/port/lan_directory.h"
#include "tools/doctor/host_checks.h"

namespace tools {

namespace {

constexpr uint64_t kMiB_size = uint64_t{1} << 20U;
constexpr uint64_t kSharedMemoryWanted_size = 64 * kMiB_size;  // the smallest guests' memory
constexpr uint64_t kTemporaryWanted_size = 64 * kMiB_size;     // for a capture of some length

// Bytes an unprivileged user may still fill; nothing when there is no such folder (see errno).
std::optional<uint64_t> room_in(const std::string& folder) {
  struct statvfs system {};
  if (::statvfs(folder.c_str(), &system) != 0) return std::nullopt;
  return uint64_t{system.f_bavail} * system.f_frsize;
}

void not_ok(Finding& finding, const std::string& fact, const std::string& cure, bool needed,
            int error = 0) {
  finding.ok = false;
  finding.needed = needed;
  finding.fact = fact;
  finding.cure = cure;
  finding.errno_value = error;
}

}  // namespace

Finding check_shared_memory() {
  Finding finding{"shared-memory", "/dev/shm", ""};
  finding.needed = false;
  const auto room = room_in("/dev/shm");
  if (!room) {
    const int error = errno;
    not_ok(finding,
           fmt::format("it cannot be looked at ({}); memory-backend-memfd does without it, "
                       "memory-backend-file does not",
                       netstack::errno_text(error)),
           "mount a tmpfs there", false, error);
    return finding;
  }
  finding.fact = fmt::format("{} MiB free", *room / kMiB_size);
  if (*room < kSharedMemoryWanted_size) {
    not_ok(finding,
           finding.fact + ": less than a guest's memory; memory-backend-memfd does without it",
           "give the container more (--shm-size)", false);
  }
  return finding;
}

Finding check_temporary_folder() {
  const char* given = std::getenv("TMPDIR");
  const std::string folder = given != nullptr && *given != '\0' ? given : "/tmp";
  Finding finding{"temporary-folder", "TMPDIR", ""};
  const auto room = room_in(folder);
  if (!room || ::access(folder.c_str(), W_OK | X_OK) != 0) {
    const int error = errno;
    not_ok(finding,
           fmt::format("{} cannot be used: {}; LANs and tests want a folder of their own there",
                       folder, netstack::errno_text(error)),
           "set TMPDIR to a folder this user may write to", true, error);
    return finding;
  }
  finding.fact = fmt::format("{}, {} MiB free", folder, *room / kMiB_size);
  finding.needed = false;
  if (folder.size() + sizeof("/lanyard.XXXXXXXX/lan") > netstack::kLanDirectoryMax_size) {
    not_ok(finding,
           fmt::format("{} is {} bytes long: the sockets of a LAN below it would have longer "
                       "names than the kernel takes",
                       folder, folder.size()),
           "make LANs in a folder with a short path, /tmp/lan say", false);
  } else if (*room < kTemporaryWanted_size) {
    not_ok(finding, finding.fact + ": a capture fills that soon", "free some, or set TMPDIR",
           false);
  }
  return finding;
}

}  // namespace tools
