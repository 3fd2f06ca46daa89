#include "tools/lanyard/ctl_request.h"

#include <fmt/format.h>

#include <cstdio>

#include "netstack/base/error.h"
#include "tools/lanyard/control_client.h"

namespace tools {

using nlohmann::json;

void write_out(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string ask(const CtlOptions& options, const std::string& method, const std::string& path,
                const json& body) {
  const ControlAnswer answer =
      ask_control(options.directory, method, path, body.is_null() ? std::string() : body.dump());
  if (answer.status < 300) return answer.body;
  const json refusal = json::parse(answer.body, nullptr, false);
  throw netstack::Error(
      EX_DATAERR, refusal.is_object() && refusal.contains("error")
                      ? refusal["error"].get<std::string>()
                      : fmt::format("cannot {} {}: HTTP status {}", method, path, answer.status));
}

}  // namespace tools
