#include "tools/lanyard/report_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <system_error>
#include <utility>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"

namespace tools {

namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return ::fsync(fd) == 0;
}

netstack::Error cannot_write(const std::string& path, const char* remedy) {
  return netstack::host_error(errno, fmt::format("write {}", path), remedy, EX_CANTCREAT);
}

const char* remedy_for(int errno_value) {
  return errno_value == ENOSPC ? "make room on the disk" : "";
}

}  // namespace

std::filesystem::path place_of(const std::string& path) {
  constexpr int kLinksMax_count = 40;  // the kernel's own limit
  std::error_code failed;
  std::filesystem::path place = std::filesystem::absolute(path, failed);
  for (int links = 0; links < kLinksMax_count; ++links) {
    const std::filesystem::path target = std::filesystem::read_symlink(place, failed);
    if (failed) break;
    place = place.parent_path() / target;
  }
  return std::filesystem::weakly_canonical(place, failed);
}

ReportFile::ReportFile(std::string path) : path_(std::move(path)) {
  if (const auto given = netstack::given_descriptor(path_)) {
    const auto flags = netstack::given_flags(*given);
    if (flags && (*flags & O_ACCMODE) != O_RDONLY) return;
    errno = EBADF;
    throw cannot_write(path_, "redirect it, or name a file");
  }
  struct stat status {};
  const bool is_there = ::stat(path_.c_str(), &status) == 0;
  // The kernel follows no link of another user's in /tmp, and neither do we.
  if (!is_there && errno != ENOENT) throw cannot_write(path_, "give a file you may write to");
  is_file_ = !is_there || S_ISREG(status.st_mode);
  if (is_there && S_ISDIR(status.st_mode)) {
    errno = EISDIR;
    throw cannot_write(path_, "name a file in it");
  }
  if (!is_file_ && ::access(path_.c_str(), W_OK) != 0) {
    throw cannot_write(path_, "give a file you may write to");
  }
  std::error_code failed;
  place_ = std::filesystem::is_symlink(path_, failed) ? place_of(path_).string() : path_;
  if (is_file_ && ::access(folder_of(place_).c_str(), W_OK | X_OK) != 0) {
    throw cannot_write(path_, "give a file in a folder you may write to");
  }
}

void ReportFile::open() {
  if (is_file_) return;
  output_ = std::make_unique<netstack::Output>(path_, netstack::Output::Content::kText);
}

std::string ReportFile::directory() const {
  return is_file_ ? folder_of(place_) : "";
}

void ReportFile::write(const std::string& text) {
  if (is_file_) {
    write_beside(text);
  } else {
    write_out(text);
  }
}

void ReportFile::write_out(const std::string& text) {
  output_->stop(kReportPatience_ns);
  const auto done = output_->write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  if (done.size == text.size()) return;
  if (done.error == ETIMEDOUT) {
    throw netstack::Error(
        EX_CANTCREAT, fmt::format("cannot write {}: its reader has stopped reading, and {} of {} "
                                  "bytes are not in it; let it read on, or name a file",
                                  path_, text.size() - done.size, text.size()));
  }
  if (done.error == EPIPE) {
    throw netstack::Error(
        EX_CANTCREAT,
        fmt::format("cannot write {}: its reader has gone away; keep it until the LAN has ended",
                    path_));
  }
  errno = done.error;
  throw cannot_write(path_, remedy_for(errno));
}

// Into a file beside it that then takes its place: a reader never meets half a report. A symbolic
// link stays, and leads to it.
void ReportFile::write_beside(const std::string& text) const {
  const std::string draft = fmt::format("{}.{}.part", place_, ::getpid());
  const netstack::Fd file(
      ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666));
  const bool whole =
      file && write_all(file.get(), text) && ::rename(draft.c_str(), place_.c_str()) == 0;
  if (whole) return;
  const int why = errno;
  if (file) ::unlink(draft.c_str());
  errno = why;
  throw cannot_write(path_, remedy_for(why));
}

}  // namespace tools
