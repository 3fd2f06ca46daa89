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

}  // namespace

Finding check_shared_memory() {
  const char* id = "shared-memory";
  const char* title = "/dev/shm";
  const auto room = room_in(title);
  if (!room) {
    const int error = errno;
    return warning(id, title,
                   fmt::format("it cannot be looked at ({}); memory-backend-memfd does without it, "
                               "memory-backend-file does not",
                               netstack::errno_text(error)),
                   "mount a tmpfs there", error);
  }
  const std::string fact = fmt::format("{} MiB free", *room / kMiB_size);
  if (*room >= kSharedMemoryWanted_size) return {id, title, fact};
  return warning(id, title,
                 fact + ": less than a guest's memory; memory-backend-memfd does without it",
                 "give the container more (--shm-size)");
}

Finding check_temporary_folder() {
  const char* id = "temporary-folder";
  const char* title = "TMPDIR";
  const char* given = std::getenv("TMPDIR");
  const std::string folder = given != nullptr && *given != '\0' ? given : "/tmp";
  const auto room = room_in(folder);
  if (!room || ::access(folder.c_str(), W_OK | X_OK) != 0) {
    const int error = errno;
    return problem(id, title,
                   fmt::format("{} cannot be used: {}; LANs and tests want a folder of their own "
                               "there",
                               folder, netstack::errno_text(error)),
                   "set TMPDIR to a folder this user may write to", error);
  }
  if (folder.size() + sizeof("/lanyard.XXXXXXXX/lan") > netstack::kLanDirectoryMax_size) {
    return warning(id, title,
                   fmt::format("{} is {} bytes long: the sockets of a LAN below it would have "
                               "longer names than the kernel takes",
                               folder, folder.size()),
                   "make LANs in a folder with a short path, /tmp/lan say");
  }
  const std::string fact = fmt::format("{}, {} MiB free", folder, *room / kMiB_size);
  if (*room >= kTemporaryWanted_size) return {id, title, fact};
  return warning(id, title, fact + ": a capture fills that soon", "free some, or set TMPDIR");
}

}  // namespace tools
