#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "netstack/base/error.h"
#include "tools/lanyard/control_client.h"

namespace tools {

// What the commands of `lanyard ctl` share.
struct CtlOptions {
  std::string directory;
  bool as_json = false;
  bool from_oldest = false;
  unsigned port = 0;
  std::string word;  // up or down; a file; a path; a forward; kinds; an id; a rule
};

void write_out(std::string_view text);

// What was refused, in the words of the control socket.
netstack::Error refusal_of(const ControlAnswer& answer, const std::string& method,
                           const std::string& path);

// The answer's body. Throws Error with what was refused.
std::string ask(const CtlOptions& options, const std::string& method, const std::string& path,
                const nlohmann::json& body = nullptr);

}  // namespace tools
