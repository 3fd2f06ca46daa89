#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/base/log.h"
#include "netstack/config/names_config.h"

namespace netstack {

// The nameservers of a resolv.conf, read again when the file is another or has changed: one stat()
// per question. inotify would need a watch on every directory of the path, since resolv.conf is
// usually replaced, often through a symbolic link, and sometimes mounted over.
//
// A file that may not be read any more leaves the servers as they were, and the log says so once: a
// process that has locked itself in may be refused what has come since (tools/sandbox).
class ResolvConf {
 public:
  ResolvConf(std::string path, Clock& clock, Log& log)
      : path_(std::move(path)), clock_(clock), log_(log) {}

  const std::vector<DnsServer>& servers();  // in the order of the file; empty: none, or no file
  const std::string& path() const { return path_; }

 private:
  struct Version {
    dev_t device;
    ino_t inode;
    off_t bytes;
    int64_t modified_ns;
    int64_t changed_ns;
    bool operator==(const Version&) const = default;
  };
  // A file as young as that may change once more within the same time stamp: it is read each time.
  static constexpr int64_t kYoung_ns = 100 * static_cast<int64_t>(kMillisecond_ns);

  void keep_old_servers();

  std::string path_;
  Clock& clock_;
  Log& log_;
  bool said_kept_ = false;
  bool settled_ = false;  // read when it was no longer young
  Version version_{};
  std::vector<DnsServer> servers_;
};

}  // namespace netstack
