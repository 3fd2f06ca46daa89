#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "netstack/port/unix_socket.h"

namespace netstack {

// The longest of our own file names in a LAN directory: the data socket "4096.1048575". Clients
// name their sockets themselves; theirs (".4194304-99999") may be longer, and a client whose name
// does not fit any more puts its socket elsewhere or says that it cannot.
constexpr size_t kLanFileName_size = 12;
constexpr size_t kLanDirectoryMax_size = kSocketPathMax_size - 1 - kLanFileName_size;

// A directory whose switch is about to be ready, or to end, is looked at again.
constexpr int kLanDirectoryLooks_count = 50;
constexpr unsigned kLanDirectoryPause_us = 5000;  // between two looks

// How a directory is made or taken over.
struct LanDirectoryRules {
  mode_t mode = 0700;
  std::optional<gid_t> group = std::nullopt;
  // The directory is a switch's own, as vde_switch has it: mode and group are set on one that was
  // there before, too, and at the end it goes with every socket of a LAN in it, whoever made it.
  bool own = false;
  // Set-group-ID goes into the mode where the system permits it (a Nix sandbox does not).
  bool set_group_id_if_permitted = false;
};

// The directory that is a LAN: its sockets appear in it and clients find it by its path. Made if
// absent, used as it is if present; one switch at a time, by flock(2), which a killed switch lets
// go of by itself, and for switches that do not lock by asking who answers at ctl. Where a switch
// runs nothing is changed.
//
// At its end the directory is swept of a LAN's data sockets, ours (NNN.N) and clients' (.PID-N). If
// we made it, all of them go, those of live clients too, and the directory with them. If it was
// there, it stays, with the sockets that somebody has open; LanDirectoryRules::own changes this.
// Anything else in it stays, and so then does the directory.
class LanDirectory {
 public:
  // Throws Error: EX_USAGE (too long), EX_CANTCREAT (cannot be made or used), EX_UNAVAILABLE (a
  // switch is running there). `mode` is for a directory that is made.
  explicit LanDirectory(const std::string& path, mode_t mode = 0700);
  LanDirectory(const std::string& path, const LanDirectoryRules& rules);
  ~LanDirectory();
  LanDirectory(const LanDirectory&) = delete;
  LanDirectory& operator=(const LanDirectory&) = delete;

  bool made() const { return made_; }                // or it was there
  const std::string& path() const { return path_; }  // absolute, without symbolic links
  std::string file(std::string_view name) const;     // of at most kLanFileName_size bytes

 private:
  bool enter(bool last_look);
  bool make_or_reuse() const;
  bool is_ours() const;
  Error in_use() const;
  void refuse_a_live_switch() const;
  void set_mode_and_group() const;
  void sweep(bool all) const;
  std::string ctl_path() const { return path_ + "/ctl"; }
  bool removes() const { return made_ || rules_.own; }

  std::string path_;
  LanDirectoryRules rules_;
  bool made_ = false;
  Fd lock_;
};

}  // namespace netstack
