#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/flows/egress_book.h"
#include "tools/lanyard/report_file.h"

namespace tools {

// Files about what guests reached for, written when the LAN ends.
struct EgressFiles {
  std::string report;   // --egress-report; *.json is JSON, other names a table;
                        // empty: none
  std::string learned;  // --learn; empty: none

  void add_to(CLI::App& app);
  bool any() const { return !report.empty() || !learned.empty(); }
  // Whether the files could be written, before the LAN starts. Throws Error.
  void check_writable() const;
  // Whether each of these files, and the capture's (empty: none), is a file of its own. Throws
  // Error.
  void refuse_one_file_for_two(const std::string& capture) const;
  // The option whose file a capture to `file` would spoil; empty: none.
  std::string option_of(const std::string& file) const;
};

// The files themselves, from the start of the LAN until it has ended and its directory has gone:
// whoever reads a report may be slow.
class EgressReports {
 public:
  explicit EgressReports(const EgressFiles& files);  // throws Error: one cannot be written
  void open();                                       // throws Error
  std::vector<std::string> directories() const;      // in which files will be made
  // Each file is whole or as it was before. A line for each that could not be written, and the exit
  // status of the first; EX_OK: both are there.
  int write(const netstack::EgressBook& book, netstack::Log& log);

 private:
  bool json_;
  std::optional<ReportFile> report_;
  std::optional<ReportFile> learned_;
};

}  // namespace tools
