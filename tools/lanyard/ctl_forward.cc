#include "tools/lanyard/ctl_forward.h"

#include <fmt/format.h>

#include "netstack/base/error.h"
#include "netstack/config/host_forward.h"
#include "tools/lanyard/given_word.h"

namespace tools {

namespace {

using nlohmann::json;

// What `word` means: a number, or a forward as it would be written to add it; of a range, all.
std::vector<std::string> numbers_of(const CtlOptions& options) {
  if (options.word.find_first_not_of("0123456789") == std::string::npos) return {options.word};
  const auto rule = netstack::HostForward::parse(options.word);
  std::vector<std::string> numbers;
  const json forwards = json::parse(ask(options, "GET", "/forwards"));
  for (const json& forward : items(forwards)) {
    const auto each = netstack::HostForward::parse(forward.at("forward").get<std::string>());
    for (uint16_t i = 0; i < rule.port_count; ++i) {
      netstack::HostForward one = rule;
      one.port_count = 1;
      one.host_port = static_cast<uint16_t>(one.host_port + i);
      one.guest_port = static_cast<uint16_t>(one.guest_port + i);
      if (each == one) numbers.push_back(std::to_string(forward.at("number").get<uint64_t>()));
    }
  }
  if (!numbers.empty()) return numbers;
  throw netstack::Error(EX_DATAERR, fmt::format("cannot remove {}: there is no such forward; "
                                                "`lanyard ctl {} forward list` shows them",
                                                options.word, options.directory));
}

}  // namespace

void add_forward(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = app.add_subcommand("forward", "Host ports that lead into guests");
  command->require_subcommand(1);
  CLI::App* add = command->add_subcommand("add", "Add one, and print it with its port");
  add->add_option("SPEC", options->word, "As for --hostfwd: tcp::2222-:22, unix:/tmp/ssh-:22, …")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  add->callback([options] {
    const json added =
        json::parse(ask(*options, "POST", "/forwards", {{"forward", options->word}}));
    for (const json& forward : items(added))
      write_out(forward.at("forward").get<std::string>() + '\n');
  });
  CLI::App* remove = command->add_subcommand("remove", "Remove one; its connections go on");
  remove->add_option("SPEC", options->word, "The forward as it was added, or its number")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  remove->callback([options] {
    for (const auto& number : numbers_of(*options)) ask(*options, "DELETE", "/forwards/" + number);
  });
  add_numbered_listing(*command, options, "list", "/forwards", "All, with what the guest answers",
                       &CtlTables::forwards);
}

}  // namespace tools
