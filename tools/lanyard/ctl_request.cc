#include "tools/lanyard/ctl_request.h"

#include <fmt/format.h>

#include <cstdio>

namespace tools {

using nlohmann::json;

void write_out(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

netstack::Error refusal_of(const ControlAnswer& answer, const std::string& method,
                           const std::string& path) {
  const json refusal = json::parse(answer.body, nullptr, false);
  const bool explained = refusal.is_object() && refusal.contains("error");
  return {EX_DATAERR, explained ? refusal["error"].get<std::string>()
                                : fmt::format("cannot {} {}: HTTP status {}; see what the switch "
                                              "says",
                                              method, path, answer.status)};
}

std::string ask(const CtlOptions& options, const std::string& method, const std::string& path,
                const json& body) {
  const ControlAnswer answer =
      ask_control(options.directory, method, path, body.is_null() ? std::string() : body.dump());
  if (answer.status < 300) return answer.body;
  throw refusal_of(answer, method, path);
}

}  // namespace tools
