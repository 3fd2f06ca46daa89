#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tools {

// What the commands of `lanyard ctl` share.
struct CtlOptions {
  std::string directory;
  bool as_json = false;
  bool from_oldest = false;
  unsigned port = 0;
  std::string word;  // up or down; a file; a path; a forward
};

void write_out(std::string_view text);

// The answer's body. Throws Error with what was refused.
std::string ask(const CtlOptions& options, const std::string& method, const std::string& path,
                const nlohmann::json& body = nullptr);

}  // namespace tools
