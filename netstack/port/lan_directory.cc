#include "netstack/port/lan_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <vector>

#include "netstack/base/check.h"
#include "netstack/base/error.h"

namespace netstack {
namespace {

std::string canonical(const std::string& path) {
  std::error_code refusal;
  std::string whole =
      std::filesystem::weakly_canonical(std::filesystem::absolute(path, refusal), refusal);
  if (path.empty() || refusal) {
    throw Error(EX_CANTCREAT, fmt::format("cannot use directory \"{}\": {}; name another one", path,
                                          path.empty() ? "no name" : refusal.message()));
  }
  while (whole.size() > 1 && whole.back() == '/') whole.pop_back();
  return whole;
}

bool digits(std::string_view text, size_t count_min) {
  return text.size() >= count_min &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "NNN.N", a switch's data socket, or ".PPPPP-NNNNN", a client's.
bool names_a_data_socket(std::string_view name) {
  const bool client = name.starts_with('.');
  if (client) name.remove_prefix(1);
  const size_t middle = name.find(client ? '-' : '.');
  if (middle == std::string_view::npos) return false;
  const size_t count_min = client ? 5 : 1;
  return digits(name.substr(0, middle), client ? 5 : 3) &&
         digits(name.substr(middle + 1), count_min);
}

std::vector<std::string> data_sockets_in(const std::string& directory) {
  std::vector<std::string> paths;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(directory.c_str()), ::closedir);
  if (!listing) return paths;
  while (const dirent* entry = ::readdir(listing.get())) {
    if (names_a_data_socket(entry->d_name)) paths.push_back(directory + "/" + entry->d_name);
  }
  return paths;
}

}  // namespace

LanDirectory::LanDirectory(const std::string& path, mode_t mode)
    : LanDirectory(path, LanDirectoryRules{.mode = mode}) {}

LanDirectory::LanDirectory(const std::string& path, const LanDirectoryRules& rules)
    : path_(canonical(path)), rules_(rules) {
  if (path_.size() > kLanDirectoryMax_size) {
    throw Error(EX_USAGE,
                fmt::format("cannot use directory {}: its path takes {} bytes and {} are possible, "
                            "as its sockets' paths may take {}; choose a shorter one",
                            path_, path_.size(), kLanDirectoryMax_size, kSocketPathMax_size));
  }
  make_or_reuse();
  try {
    lock();
    if (made_ || rules_.own) set_mode_and_group();  // locked: no running switch's is changed
  } catch (...) {
    if (made_) ::rmdir(path_.c_str());
    throw;
  }
  sweep(false);
}

LanDirectory::~LanDirectory() {
  sweep(rules_.own);
  if (removes()) ::rmdir(path_.c_str());
}

std::string LanDirectory::file(std::string_view name) const {
  check(name.size() <= kLanFileName_size, "a LAN directory's file names fit a socket address");
  return fmt::format("{}/{}", path_, name);
}

void LanDirectory::make_or_reuse() {
  if (::mkdir(path_.c_str(), 0700) == 0) {
    made_ = true;
    return;
  }
  if (errno != EEXIST) {
    const char* remedy =
        errno == ENOENT ? "make its parent directory first" : "choose a directory you may write to";
    throw host_error(errno, "make directory " + path_, remedy, EX_CANTCREAT);
  }
  struct stat status {};
  if (::stat(path_.c_str(), &status) == 0 && !S_ISDIR(status.st_mode)) {
    throw host_error(ENOTDIR, "use " + path_, "choose another name", EX_CANTCREAT);
  }
  if (rules_.own && (status.st_mode & S_ISVTX) != 0) {
    throw Error(EX_CANTCREAT,
                fmt::format("cannot take over directory {}: it is shared by several users (sticky "
                            "bit); name a directory inside it",
                            path_));
  }
  if (::access(path_.c_str(), R_OK | W_OK | X_OK) != 0) {
    throw host_error(errno, "use directory " + path_, "choose a directory you may write to",
                     EX_CANTCREAT);
  }
}

// chmod and not mkdir's mode: whatever the umask is.
void LanDirectory::set_mode_and_group() const {
  if (rules_.group && ::chown(path_.c_str(), static_cast<uid_t>(-1), *rules_.group) != 0) {
    throw host_error(errno, fmt::format("give directory {} to group {}", path_, *rules_.group),
                     "choose a group you belong to", EX_CANTCREAT);
  }
  if (rules_.set_group_id_if_permitted &&
      ::chmod(path_.c_str(), rules_.mode | static_cast<mode_t>(S_ISGID)) == 0) {
    return;
  }
  if (::chmod(path_.c_str(), rules_.mode) != 0) {
    throw host_error(errno, fmt::format("give directory {} mode {:04o}", path_, rules_.mode),
                     "choose another mode or directory", EX_CANTCREAT);
  }
}

void LanDirectory::lock() {
  lock_ = Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock_) throw host_error(errno, "open directory " + path_, "", EX_CANTCREAT);
  // A file system without locks has to do with the sockets' own check (listen_unix).
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error(EX_UNAVAILABLE, fmt::format("cannot use directory {}: it is in use by a running "
                                            "switch; stop it or choose another directory",
                                            path_));
  }
}

// Asks the socket rather than the process id in its name: the id may be another process's by now,
// or from another process namespace and mean nothing here. At the end of a directory that is our
// own, live sockets lose their names too: their switch has gone, so nobody can need the name.
void LanDirectory::sweep(bool live_ones_too) const {
  for (const std::string& path : data_sockets_in(path_)) {
    if (path.size() > kSocketPathMax_size) continue;
    const SocketState state = probe_socket(path, SOCK_DGRAM);
    if (state == SocketState::kDead || (live_ones_too && state == SocketState::kAlive)) {
      ::unlink(path.c_str());
    }
  }
}

}  // namespace netstack
