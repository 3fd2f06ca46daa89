#include "tools/lanyard/egress_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <optional>
#include <string_view>

#include "netstack/base/error.h"
#include "netstack/capture/output.h"
#include "tools/control/egress_report.h"
#include "tools/lanyard/given_word.h"

namespace tools {

namespace {

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

void EgressFiles::check_writable() const {
  const EgressReports tried(*this);
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

std::string EgressFiles::option_of(const std::string& file) const {
  if (!report.empty() && spoil_each_other(report, file, false)) return "--egress-report";
  if (!learned.empty() && spoil_each_other(learned, file, false)) return "--learn";
  return {};
}

EgressReports::EgressReports(const EgressFiles& files) : json_(files.report.ends_with(".json")) {
  if (!files.report.empty()) report_.emplace(files.report);
  if (!files.learned.empty()) learned_.emplace(files.learned);
}

void EgressReports::open() {
  for (auto* file : {&report_, &learned_}) {
    if (*file) (*file)->open();
  }
}

std::vector<std::string> EgressReports::directories() const {
  std::vector<std::string> folders;
  for (const auto* file : {&report_, &learned_}) {
    if (*file && !(*file)->directory().empty()) folders.push_back((*file)->directory());
  }
  return folders;
}

int EgressReports::write(const netstack::EgressBook& book, netstack::Log& log) {
  int status = EX_OK;
  const auto try_write = [&](ReportFile& file, const std::string& text) {
    try {
      file.write(text);
    } catch (const netstack::Error& error) {
      log.line(error.what());
      if (status == EX_OK) status = error.exit_code();
    }
  };
  constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  if (report_) {
    try_write(*report_,
              json_ ? egress_json(book).dump(2, ' ', false, kReplace) + '\n' : egress_table(book));
  }
  if (learned_) try_write(*learned_, learned_rules(book));
  return status;
}

}  // namespace tools
