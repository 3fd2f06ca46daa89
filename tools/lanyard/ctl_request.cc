#include "tools/lanyard/ctl_request.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "tools/lanyard/given_word.h"

namespace tools {

using nlohmann::json;

CtlTables ctl_tables() {
  const char* refused = std::getenv("NO_COLOR");
  return CtlTables(::isatty(STDOUT_FILENO) == 1 && (refused == nullptr || *refused == '\0'));
}

void show(const CtlOptions& options, const std::string& path, Show table, bool is_one) {
  const std::string body = ask(options, "GET", path);
  const json answer = json::parse(body);
  // Made for --json too: it throws for what no LAN tells.
  const std::string text = (ctl_tables().*table)(is_one ? json::array({answer}) : answer);
  write_out(options.as_json ? body : text);
}

CLI::App* add_listing(CLI::App& app, const std::shared_ptr<CtlOptions>& options, const char* name,
                      const char* path, const char* help, Show table) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", options->as_json, "The answer as it came, for machines");
  command->callback([options, command, path, table] {
    if (!command->get_subcommands().empty()) return;
    const bool is_one = !options->number.empty();
    show(*options, is_one ? fmt::format("{}/{}", path, options->number) : path, table, is_one);
  });
  return command;
}

CLI::App* add_numbered_listing(CLI::App& app, const std::shared_ptr<CtlOptions>& options,
                               const char* name, const char* path, const char* help, Show table) {
  CLI::App* command = add_listing(app, options, name, path, help, table);
  command->add_option("NUMBER", options->number, "This one alone")
      ->check(refuse_empty)
      ->type_name("");
  return command;
}

std::string query_text(const std::vector<std::pair<const char*, std::string>>& values) {
  std::string text;
  for (const auto& [name, value] : values) {
    if (value.empty()) continue;
    text += fmt::format("{}{}=", text.empty() ? '?' : '&', name);
    for (const char byte : value) {
      const bool plain = std::isalnum(static_cast<unsigned char>(byte)) != 0 ||
                         std::string_view("-._~:,").find(byte) != std::string_view::npos;
      text +=
          plain ? std::string(1, byte) : fmt::format("%{:02X}", static_cast<unsigned char>(byte));
    }
  }
  return text;
}

namespace {

// A LAN speaks to clients of HTTP; where it names a request, people are told the command.
std::string in_words_of_ctl(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kTold[] = {
      {"GET /ports lists", "`lanyard ctl DIR ports` lists"},
      {"GET /policy lists", "`lanyard ctl DIR policy` lists"},
      {"GET /leases lists", "`lanyard ctl DIR leases` lists"},
      {"GET /captures lists", "`lanyard ctl DIR capture list` lists"},
      {"GET /forwards lists", "`lanyard ctl DIR forward list` lists"},
      {"(DELETE /captures/", "(`lanyard ctl DIR capture stop` "},
  };
  for (const auto& [request, words] : kTold) {
    const size_t at = text.find(request);
    if (at != std::string::npos) text.replace(at, request.size(), words);
  }
  return text;
}

}  // namespace

netstack::Error refusal_of(const ControlAnswer& answer, const std::string& method,
                           const std::string& path) {
  const json refusal = json::parse(answer.body, nullptr, false);
  if (refusal.is_object() && refusal.contains("error") && refusal["error"].is_string()) {
    return {EX_DATAERR, in_words_of_ctl(refusal["error"].get<std::string>())};
  }
  // A LAN says why, but for what its HTTP library finds wrong with the request itself.
  const bool is_of_library = answer.status >= 400 && answer.status < 500;
  return {
      is_of_library ? EX_DATAERR : EX_PROTOCOL,
      fmt::format("cannot {} {}: HTTP status {}, without a reason; {}", method, path, answer.status,
                  is_of_library ? "see what the switch says" : "give a LAN's directory")};
}

netstack::Error strange_answer() {
  return {EX_PROTOCOL,
          "cannot read the control socket's answer: it is not what a LAN tells; give the directory "
          "of a LAN of this version's `lanyard switch`"};
}

namespace {

// JSON is UTF-8, and what is not would come to name another thing.
std::string text_of(const json& body, const std::string& method, const std::string& path) {
  if (body.is_null()) return {};
  try {
    return body.dump();
  } catch (const json::type_error&) {
    throw netstack::Error(EX_DATAERR, fmt::format("cannot {} {}: a word of it is not UTF-8; name "
                                                  "it otherwise",
                                                  method, path));
  }
}

}  // namespace

std::string ask(const CtlOptions& options, const std::string& method, const std::string& path,
                const json& body) {
  const ControlAnswer answer =
      ask_control(options.directory, method, path, text_of(body, method, path));
  if (answer.status < 300) return answer.body;
  throw refusal_of(answer, method, path);
}

}  // namespace tools
