#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "netstack/base/error.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/lanyard/control_client.h"
#include "tools/lanyard/ctl_tables.h"

namespace tools {

// What the commands of `lanyard ctl` share.
struct CtlOptions {
  std::string directory;
  bool as_json = false;
  bool from_oldest = false;
  unsigned port = 0;
  std::string word;    // up or down; a file; a path; a forward; kinds; an id; a rule
  std::string number;  // of a port or a forward; how many flows; the rule to stand before
};

// Colours where somebody looks, and not in a log (https://no-color.org).
CtlTables ctl_tables();
using Show = std::string (CtlTables::*)(const nlohmann::json&) const;

// The answer, as a table or with --json as it came. `is_one`: of what the table lists.
void show(const CtlOptions& options, const std::string& path, Show table, bool is_one = false);

// A command for that, with --json; silent when a command under it was given.
CLI::App* add_listing(CLI::App& app, const std::shared_ptr<CtlOptions>& options, const char* name,
                      const char* path, const char* help, Show table);
// The same for what has numbers: all of path, or path/NUMBER.
CLI::App* add_numbered_listing(CLI::App& app, const std::shared_ptr<CtlOptions>& options,
                               const char* name, const char* path, const char* help, Show table);

// "?guest=10.0.2.15&limit=3"; what is empty is left out.
std::string query_text(const std::vector<std::pair<const char*, std::string>>& values);

// What was refused, in the words of the control socket.
netstack::Error refusal_of(const ControlAnswer& answer, const std::string& method,
                           const std::string& path);

// An answer that no LAN gives.
netstack::Error strange_answer();

// The answer's body. Throws Error with what was refused.
std::string ask(const CtlOptions& options, const std::string& method, const std::string& path,
                const nlohmann::json& body = nullptr);

}  // namespace tools
