#pragma once

#include <string>
#include <string_view>

#include "netstack/base/fd.h"
#include "netstack/base/log.h"

namespace tools {

// Lines of a face: "PROGRAM: text" on stderr, and from in_background() on in the system's log,
// which names programs without their directory.
class FaceLog final : public netstack::Log {
 public:
  explicit FaceLog(const std::string& program);
  void line(std::string_view text) override;
  void in_background();

 private:
  std::string name_;
  netstack::FdLog terminal_;
  bool in_background_ = false;
};

// A program that goes to the background when it works, and not before: until then its errors are
// seen where it was started, and whoever started it waits.
//
//   begin() ─ fork ─┬─ parent: waits; ends with 0 when told "ready", else as the child ended
//                   └─ child: sets everything up ─► ready() ─► goes on without a terminal
//
// Made before anything that a fork would double: descriptors in epoll, threads, files to remove.
class Background {
 public:
  // Does nothing unless `wanted`. Throws Error when there can be no further process.
  explicit Background(bool wanted);
  // Standard descriptors lead nowhere from here on and the directory is "/".
  void ready(FaceLog& log);

 private:
  netstack::Fd tell_;  // to the waiting parent; empty: we stay in the foreground
};

// A file with this process's number, removed at the end. One that is there already belongs to
// another process and is left alone: Error. So is one that somebody has put in ours' place since;
// ours is kept open, so that no other can have its inode number meanwhile.
class PidFile {
 public:
  explicit PidFile(const std::string& path);  // "": none
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

 private:
  std::string path_;  // absolute; empty: none
  netstack::Fd file_;
};

}  // namespace tools
