#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "netstack/base/fd.h"
#include "netstack/port/unix_socket.h"

namespace netstack {

// The longest file name in a LAN directory: a VDE client's ".4194304-99999".
constexpr size_t kLanFileName_size = 14;
constexpr size_t kLanDirectoryMax_size = kSocketPathMax_size - 1 - kLanFileName_size;

// The directory that is a LAN: its sockets appear in it and clients find it by its path. Made if
// absent, used as it is if present; one switch at a time, by flock(2), which a killed switch lets
// go of by itself.
//
// At its end the directory is swept of socket files nobody has open, ours (NNN.N) and clients'
// (.PID-N), and removed if we made it. Anything else in it stays, and so then does the directory.
class LanDirectory {
 public:
  // Throws Error: EX_USAGE (too long), EX_CANTCREAT (cannot be made or used), EX_UNAVAILABLE (a
  // switch is running there). `mode` is for a directory that is made.
  explicit LanDirectory(const std::string& path, mode_t mode = 0700);
  ~LanDirectory();
  LanDirectory(const LanDirectory&) = delete;
  LanDirectory& operator=(const LanDirectory&) = delete;

  const std::string& path() const { return path_; }  // absolute, without symbolic links
  std::string file(std::string_view name) const;     // of at most kLanFileName_size bytes

 private:
  void make_or_reuse(mode_t mode);
  void lock();
  void sweep() const;

  std::string path_;
  bool made_ = false;
  Fd lock_;
};

}  // namespace netstack
