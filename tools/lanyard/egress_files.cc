#include "tools/lanyard/egress_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string_view>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "netstack/capture/output.h"
#include "tools/control/egress_report.h"
#include "tools/lanyard/given_word.h"

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
  return ::fsync(fd) == 0 || errno == EINVAL;  // EINVAL: a pipe or a terminal
}

bool is_special(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

netstack::Error cannot_write(const std::string& path, const char* remedy) {
  return netstack::host_error(errno, fmt::format("write {}", path), remedy, EX_CANTCREAT);
}

void check_one(const std::string& path) {
  if (path.empty()) return;
  if (const auto given = netstack::given_descriptor(path)) {
    const int flags = ::fcntl(*given, F_GETFL);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) return;
    errno = EBADF;
    throw cannot_write(path, "redirect it, or name a file");
  }
  if (is_special(path)) {
    if (::access(path.c_str(), W_OK) == 0) return;
    throw cannot_write(path, "give a file you may write to");
  }
  if (::access(folder_of(path).c_str(), W_OK | X_OK) != 0) {
    throw cannot_write(path, "give a file in a folder you may write to");
  }
}

// Where a file will be that is not there yet: a symbolic link may lead to it already.
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

bool look_at(const std::string& path, struct stat& status) {
  const auto given = netstack::given_descriptor(path);
  return (given ? ::fstat(*given, &status) : ::stat(path.c_str(), &status)) == 0;
}

// Of two files that are written: one would take the other's place, or stand in the middle of it. A
// terminal and /dev/null take both; a pipe, and what the user opened, takes one text after another.
bool spoil_each_other(const std::string& one, const std::string& other, bool both_are_texts) {
  struct stat first {};
  struct stat second {};
  const bool is_there = look_at(one, first);
  if (is_there != look_at(other, second)) return false;
  if (!is_there) return place_of(one) == place_of(other);
  if (first.st_dev != second.st_dev || first.st_ino != second.st_ino) return false;
  if (!both_are_texts) return !S_ISCHR(first.st_mode);
  const bool open = netstack::given_descriptor(one) && netstack::given_descriptor(other);
  return S_ISREG(first.st_mode) && !open;
}

// Into a file beside it that then takes its place: a reader never meets half a
// report. A pipe or a terminal is written to as it is, and so is what the user opened: beside
// /dev/stdout there is /dev.
void write_whole(const std::string& path, const std::string& text) {
  if (const auto given = netstack::given_descriptor(path)) {
    if (write_all(*given, text)) return;
    throw cannot_write(path, "");
  }
  if (is_special(path)) {
    const netstack::Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file && write_all(file.get(), text)) return;
    throw cannot_write(path, "");
  }
  const std::string draft = fmt::format("{}.{}.part", path, ::getpid());
  const netstack::Fd file(
      ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666));
  const bool whole =
      file && write_all(file.get(), text) && ::rename(draft.c_str(), path.c_str()) == 0;
  if (whole) return;
  const int why = errno;
  if (file) ::unlink(draft.c_str());
  errno = why;
  throw cannot_write(path, errno == ENOSPC ? "make room on the disk" : "");
}

}  // namespace

void EgressFiles::add_to(CLI::App& app) {
  app.add_option("--egress-report", report,
                 "At the end, write all that guests reached for to this file: "
                 "*.json is JSON, "
                 "other names are a table")
      ->type_name("FILE")
      ->check(refuse_empty);
  app.add_option("--learn", learned,
                 "At the end, write the rules that would have sufficed, for "
                 "--allow @FILE")
      ->type_name("FILE")
      ->check(refuse_empty);
}

std::vector<std::string> EgressFiles::directories() const {
  std::vector<std::string> folders;
  for (const std::string& path : {report, learned}) {
    if (path.empty() || netstack::given_descriptor(path)) continue;
    folders.push_back(is_special(path) ? path : folder_of(path));
  }
  return folders;
}

void EgressFiles::check_writable() const {
  check_one(report);
  check_one(learned);
}

void EgressFiles::refuse_one_file_for_two(const std::string& capture) const {
  const auto keep_apart = [](const char* option, const std::string& path, const char* other_option,
                             const std::string& other, bool both_are_texts) {
    if (path.empty() || other.empty() || !spoil_each_other(path, other, both_are_texts)) return;
    throw netstack::Error(
        EX_USAGE, fmt::format("cannot use {} {}: it is the file of {} {} as well, and one would be "
                              "written over the other; name another file",
                              option, path, other_option, other));
  };
  keep_apart("--egress-report", report, "--capture", capture, false);
  keep_apart("--learn", learned, "--capture", capture, false);
  keep_apart("--learn", learned, "--egress-report", report, true);
}

void EgressFiles::write(const netstack::FlowAccount& account) const {
  if (!any()) return;
  const netstack::EgressBook book = account.report();
  std::optional<netstack::Error> failed;
  const auto try_write = [&](const std::string& path, const std::string& text) {
    if (path.empty()) return;
    try {
      write_whole(path, text);
    } catch (const netstack::Error& error) {
      failed = error;
    }
  };
  const bool json = report.ends_with(".json");
  try_write(
      report,
      json ? egress_json(book).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n'
           : egress_table(book));
  try_write(learned, learned_rules(book));
  if (failed) throw *failed;
}

}  // namespace tools
