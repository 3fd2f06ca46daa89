#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "netstack/gateway/gateway.h"

namespace tools {

// Files about what guests reached for, written when the LAN ends.
struct EgressFiles {
  std::string report;   // --egress-report; *.json is JSON, other names a table;
                        // empty: none
  std::string learned;  // --learn; empty: none

  void add_to(CLI::App& app);
  std::vector<std::string> directories() const;  // in which files will be made
  bool any() const { return !report.empty() || !learned.empty(); }
  // Whether the files could be written, before the LAN starts. Throws Error.
  void check_writable() const;
  // Whether each of these files, and the capture's (empty: none), is a file of its own. Throws
  // Error.
  void refuse_one_file_for_two(const std::string& capture) const;
  // Each file is whole or as it was before. Throws Error, after having tried
  // both.
  void write(const netstack::FlowAccount& account) const;
};

}  // namespace tools
