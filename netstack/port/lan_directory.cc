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

// A missing path is no error to weakly_canonical, but one that goes while it looks is.
std::string canonical(const std::string& path) {
  std::error_code refusal;
  std::string whole;
  for (int look = 1; look <= kLanDirectoryLooks_count; ++look) {
    whole = std::filesystem::weakly_canonical(std::filesystem::absolute(path, refusal), refusal);
    if (refusal != std::errc::no_such_file_or_directory) break;
  }
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

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

bool is_dead_socket(const std::string& path) {
  return path.size() <= kSocketPathMax_size && probe_socket(path, SOCK_DGRAM) == SocketState::kDead;
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
  for (int look = 1; !enter(look == kLanDirectoryLooks_count); ++look) {
    ::usleep(kLanDirectoryPause_us);
  }
  try {
    refuse_a_live_switch();
    if (made_ || rules_.own) set_mode_and_group();
  } catch (...) {
    if (made_) ::rmdir(path_.c_str());
    throw;
  }
  sweep(false);
}

// If the path leads to another directory by now, that one and what is in it are another switch's.
LanDirectory::~LanDirectory() {
  if (!is_ours()) return;
  sweep(removes());
  if (removes()) ::rmdir(path_.c_str());
}

std::string LanDirectory::file(std::string_view name) const {
  check(name.size() <= kLanFileName_size, "a LAN directory's file names fit a socket address");
  return fmt::format("{}/{}", path_, name);
}

// False: look again. A switch that ends removes its directory under the hands of one that starts.
bool LanDirectory::enter(bool last_look) {
  made_ = make_or_reuse();
  lock_ = Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const int refusal = errno;
  if (!lock_ && (last_look || refusal != ENOENT)) {
    throw host_error(refusal, "open directory " + path_, "", EX_CANTCREAT);
  }
  if (!lock_) return false;
  // A file system without locks has to do with refuse_a_live_switch().
  const bool locked = ::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
  if (locked && is_ours()) return true;
  // Without ctl its holder is about to be ready, or about to end.
  if (last_look || probe_socket(ctl_path(), SOCK_STREAM) != SocketState::kAbsent) throw in_use();
  return false;
}

// True: made; false: it was there.
bool LanDirectory::make_or_reuse() const {
  if (::mkdir(path_.c_str(), 0700) == 0) return true;
  if (errno != EEXIST) {
    const char* remedy =
        errno == ENOENT ? "make its parent directory first" : "choose a directory you may write to";
    throw host_error(errno, "make directory " + path_, remedy, EX_CANTCREAT);
  }
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) return false;  // gone again: opening it will say so
  if (!S_ISDIR(status.st_mode)) {
    throw host_error(ENOTDIR, "use " + path_, "choose another name", EX_CANTCREAT);
  }
  if (rules_.own && (status.st_mode & S_ISVTX) != 0) {
    throw Error(EX_CANTCREAT,
                fmt::format("cannot take over directory {}: it is shared by several users (sticky "
                            "bit); name a directory inside it",
                            path_));
  }
  if (::access(path_.c_str(), R_OK | W_OK | X_OK) != 0 && errno != ENOENT) {
    throw host_error(errno, "use directory " + path_, "choose a directory you may write to",
                     EX_CANTCREAT);
  }
  return false;
}

Error LanDirectory::in_use() const {
  return Error(EX_UNAVAILABLE, fmt::format("cannot use directory {}: it is in use by a running "
                                           "switch; stop it or choose another directory",
                                           path_));
}

// The directory that we have open is the one the path leads to.
bool LanDirectory::is_ours() const {
  struct stat open {};
  struct stat named {};
  return lock_ && ::fstat(lock_.get(), &open) == 0 && ::stat(path_.c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

// Stock switches do not lock. So the socket is asked, and before anything is changed here.
void LanDirectory::refuse_a_live_switch() const {
  const SocketState state = probe_socket(ctl_path(), SOCK_STREAM);
  if (state == SocketState::kAlive) throw in_use();
  if (state == SocketState::kForeign) {
    throw Error(EX_CANTCREAT,
                fmt::format("cannot use directory {}: its ctl is no socket that we may connect to; "
                            "move it or choose another directory",
                            path_));
  }
}

// chmod and not mkdir's mode: whatever the umask is. On what is open, whatever the path leads to.
void LanDirectory::set_mode_and_group() const {
  if (rules_.group && ::fchown(lock_.get(), static_cast<uid_t>(-1), *rules_.group) != 0) {
    throw host_error(errno, fmt::format("give directory {} to group {}", path_, *rules_.group),
                     "choose a group you belong to", EX_CANTCREAT);
  }
  if (rules_.set_group_id_if_permitted &&
      ::fchmod(lock_.get(), rules_.mode | static_cast<mode_t>(S_ISGID)) == 0) {
    return;
  }
  if (::fchmod(lock_.get(), rules_.mode) != 0) {
    throw host_error(errno, fmt::format("give directory {} mode {:04o}", path_, rules_.mode),
                     "choose another mode or directory", EX_CANTCREAT);
  }
}

// Asks the socket rather than the process id in its name: the id may be another process's by now,
// or from another process namespace and mean nothing here. At the end of a directory that goes with
// us none is asked: live sockets lose their names too, and those that we may not connect to, being
// another user's. Their switch has gone, so nobody can need the name.
void LanDirectory::sweep(bool all) const {
  for (const std::string& path : data_sockets_in(path_)) {
    if (all ? is_socket(path) : is_dead_socket(path)) ::unlink(path.c_str());
  }
}

}  // namespace netstack
