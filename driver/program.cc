#include "driver/program.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <optional>

#include "driver/spawn.h"
#include "netstack/base/error.h"

namespace driver {

using netstack::Error;

namespace {

struct PackageRow {
  std::string_view program;  // the name begins with this
  std::string_view package;  // Debian's
};

constexpr std::array kPackages = {
    PackageRow{"qemu-system-x86_64", "qemu-system-x86"},
    PackageRow{"qemu-system-i386", "qemu-system-x86"},
    PackageRow{"qemu-kvm", "qemu-system-x86"},
    PackageRow{"qemu-system-a", "qemu-system-arm"},  // aarch64, arm
    PackageRow{"qemu-system-mips", "qemu-system-mips"},
    PackageRow{"qemu-system-ppc", "qemu-system-ppc"},
    PackageRow{"qemu-system-sparc", "qemu-system-sparc"},
    PackageRow{"qemu-system-", "qemu-system-misc"},
};

std::string how_to_get(std::string_view program) {
  for (const PackageRow& row : kPackages) {
    if (program.starts_with(row.program)) {
      return fmt::format("install it: apt-get install {}", row.package);
    }
  }
  return "check its spelling, or give its path";
}

// 0, or why it cannot be executed.
int executable_error(const std::string& path) {
  struct stat what {};
  if (::stat(path.c_str(), &what) != 0) return errno;
  if (S_ISDIR(what.st_mode)) return EISDIR;
  return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

std::string find_by_path(const std::string& path) {
  const int error = executable_error(path);
  if (error == 0) return path;
  const bool missing = error == ENOENT || error == ENOTDIR;
  const char* remedy = "give the path of a program";
  if (missing) remedy = "check the path";
  if (error == EACCES) remedy = "make it executable with chmod +x";
  throw netstack::host_error(error, "start " + path, remedy,
                             missing ? kExitProgramMissing : kExitProgramUnusable);
}

// Calls `use` with the path of `name` in each directory, until it returns true.
void each_path(const std::string& name, std::string_view search_path,
               const std::function<bool(const std::string&)>& use) {
  for (bool more = true; more;) {
    const size_t colon = search_path.find(':');
    const std::string_view directory = search_path.substr(0, colon);
    if (use(fmt::format("{}/{}", directory.empty() ? "." : directory, name))) return;
    more = colon != search_path.npos;
    if (more) search_path.remove_prefix(colon + 1);
  }
}

}  // namespace

std::string find_program(const std::string& name, const std::string& search_path) {
  if (name.find('/') != name.npos) return find_by_path(name);
  std::string found;
  std::optional<std::string> refused;
  each_path(name, search_path, [&](const std::string& path) {
    const int error = executable_error(path);
    if (error == 0) found = path;
    if (error == EACCES && !refused) refused = path;
    return error == 0;
  });
  if (!found.empty()) return found;
  if (refused) return find_by_path(*refused);
  throw Error(kExitProgramMissing,
              fmt::format("cannot start {}: not found in PATH; {}", name, how_to_get(name)));
}

FileIdentity file_identity(const std::string& path) {
  struct stat what {};
  if (::stat(path.c_str(), &what) != 0) return {};
  return {what.st_dev, what.st_ino};
}

std::string find_next_program(const std::string& name, const std::string& search_path,
                              const std::vector<FileIdentity>& passed_over) {
  std::string found;
  each_path(name, search_path, [&](const std::string& path) {
    if (executable_error(path) != 0) return false;
    if (std::ranges::find(passed_over, file_identity(path)) != passed_over.end()) return false;
    found = path;
    return true;
  });
  return found;
}

}  // namespace driver
