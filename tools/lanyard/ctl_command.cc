#include "tools/lanyard/ctl_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>

#include "netstack/base/error.h"
#include "tools/lanyard/control_client.h"
#include "tools/lanyard/ctl_forward.h"
#include "tools/lanyard/ctl_policy.h"
#include "tools/lanyard/ctl_request.h"
#include "tools/lanyard/ctl_tables.h"
#include "tools/lanyard/given_word.h"

namespace tools {

namespace {

using nlohmann::json;

constexpr size_t kEventLine_size = size_t{1} << 20U;

// What only a gateway knows: null without one.
json ask_gateway(const CtlOptions& options, const char* path) {
  const ControlAnswer answer = ask_control(options.directory, "GET", path);
  if (answer.status == 404) return {};
  if (answer.status >= 300) throw refusal_of(answer, "GET", path);
  return json::parse(answer.body);
}

void show_overview(const CtlOptions& options) {
  const auto list = [&](const char* path) { return json::parse(ask(options, "GET", path)); };
  CtlTables::Overview lan{.directory = options.directory,
                          .about = list("/"),
                          .ports = list("/ports"),
                          .stations = list("/fdb"),
                          .leases = ask_gateway(options, "/leases"),
                          .reasons = ask_gateway(options, "/reasons"),
                          .captures = list("/captures")};
  // Made for --json too: it throws for what no LAN tells.
  const std::string text = ctl_tables().overview(lan);
  if (!options.as_json) return write_out(text);
  write_out(json{{"directory", lan.directory},
                 {"program", lan.about.at("program")},
                 {"sandbox", lan.about.value("sandbox", json())},
                 {"ports", lan.ports},
                 {"stations", lan.stations},
                 {"leases", lan.leases},
                 {"reasons", lan.reasons},
                 {"captures", lan.captures}}
                .dump(2) +
            '\n');
}

void add_link(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = app.add_subcommand("link", "Pull a port's cable out, or put it back");
  command->add_option("PORT", options->port, "The port's number")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  command->add_option("STATE", options->word, "up or down")
      ->required()
      ->check(CLI::IsMember({"up", "down"}))
      ->type_name("");
  command->callback([options] {
    ask(*options, "PUT", fmt::format("/ports/{}/link", options->port),
        {{"up", options->word == "up"}});
  });
}

// Whole lines, as parts of a stream come.
class EventLines {
 public:
  explicit EventLines(bool as_json) : as_json_(as_json) {}

  void take(std::string_view part) {
    rest_ += part;
    for (size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
      const std::string line = rest_.substr(0, end + 1);
      rest_.erase(0, end + 1);
      const json event = json::parse(line);
      std::ignore = event.at("event").get_ref<const std::string&>();  // or it is none
      write_out(as_json_ ? line : tables_.event(event));
    }
    if (rest_.size() > kEventLine_size) throw strange_answer();
  }
  void end() const {
    if (!rest_.empty()) throw strange_answer();
  }

 private:
  bool as_json_;
  CtlTables tables_ = ctl_tables();
  std::string rest_;
};

void add_flows(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = app.add_subcommand("flows", "Who talks to whom, and how it ended");
  command->add_option("--guest", options->word, "Of this guest alone: its MAC or IP address")
      ->type_name("ADDRESS")
      ->check(refuse_empty);
  command->add_option("--limit", options->number, "The last so many (default 256)")
      ->type_name("COUNT")
      ->check(refuse_empty);
  command->add_flag("--json", options->as_json, "The answer as it came, for machines");
  command->callback([options] {
    show(*options, "/flows" + query_text({{"guest", options->word}, {"limit", options->number}}),
         &CtlTables::flows);
  });
}

void add_events(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = app.add_subcommand("events", "What happens in the LAN, until Ctrl-C");
  command->add_flag("--from-oldest", options->from_oldest, "Begin with what has happened before");
  command->add_flag("--json", options->as_json, "A line of JSON each, for machines");
  command
      ->add_option(
          "--kind", options->word,
          "Only these, with commas between: lease-given is that one, lease is every lease-…")
      ->type_name("KINDS")
      ->check(refuse_empty);
  command->callback([options] {
    const std::string path = "/events" + query_text({{"from", options->from_oldest ? "oldest" : ""},
                                                     {"kind", options->word}});
    EventLines lines(options->as_json);
    const ControlAnswer answer = ask_control(options->directory, "GET", path, {},
                                             [&](std::string_view part) { lines.take(part); });
    if (answer.status >= 300) throw refusal_of(answer, "GET", path);
    lines.end();
  });
}

// As the switch finds it, which has a working directory of its own.
std::string capture_file(const CtlOptions& options) {
  if (options.word == "-") {
    throw netstack::Error(EX_USAGE,
                          fmt::format("cannot capture to -: the switch writes the file, not this "
                                      "command; give a FIFO: mkfifo f.pcap; tcpdump -nr f.pcap & "
                                      "lanyard ctl {} capture start f.pcap",
                                      options.directory));
  }
  if (options.word.starts_with('/')) return options.word;
  char* here = ::getcwd(nullptr, 0);
  const std::string folder = here != nullptr ? here : "";
  std::free(here);
  return folder + '/' + options.word;
}

void add_capture(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = app.add_subcommand("capture", "Begin, end or list captures");
  command->require_subcommand(1);
  CLI::App* start = command->add_subcommand("start", "Write every frame to FILE from now on");
  start
      ->add_option("FILE", options->word,
                   "Emptied; *.pcapng has the ports' names and why something was unreachable, "
                   "other names are pcap")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  auto filter = std::make_shared<std::string>();
  auto snap_bytes = std::make_shared<uint32_t>(0);
  start->add_option("--filter", *filter, "Only such frames, for example 'tcp port 80'")
      ->check(refuse_empty)
      ->type_name("EXPRESSION");
  start->add_option("--snaplen", *snap_bytes, "So many bytes of each frame (default: all)")
      ->check(refuse_empty)
      ->type_name("BYTES");
  start->callback([options, filter, snap_bytes] {
    json body = {{"file", capture_file(*options)}};
    if (!filter->empty()) body["filter"] = *filter;
    if (*snap_bytes != 0) body["snaplen"] = *snap_bytes;
    ask(*options, "POST", "/captures", body);
  });
  CLI::App* stop = command->add_subcommand("stop", "Write what is left and close the file");
  stop->add_option("ID", options->word, "Which one (default: all)")
      ->check(refuse_empty)
      ->type_name("");
  stop->callback([options] {
    ask(*options, "DELETE", options->word.empty() ? "/captures" : "/captures/" + options->word);
  });
  add_listing(*command, options, "list", "/captures", "Captures that run", &CtlTables::captures);
}

// Its subcommands stand behind the directory.
class UsageWithDirectory : public CLI::Formatter {
  std::string make_usage(const CLI::App* app, std::string name) const override {
    constexpr std::string_view kBefore = "lanyard ctl ";
    if (name.starts_with(kBefore)) name.insert(kBefore.size(), "DIR ");
    return Formatter::make_usage(app, name);
  }
};

}  // namespace

void add_ctl_command(CLI::App& app, int&) {
  auto options = std::make_shared<CtlOptions>();
  CLI::App* command = app.add_subcommand(
      "ctl", "Look at a running LAN and change it; an overview if no more is given");
  command->formatter(std::make_shared<UsageWithDirectory>());
  command->add_option("DIR", options->directory, "The LAN's directory")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  command->add_flag("--json", options->as_json, "The overview for machines");
  command->callback([options, command] {
    if (command->get_subcommands().empty()) show_overview(*options);
  });
  add_numbered_listing(*command, options, "ports", "/ports", "Ports, their plugs and counters",
                       &CtlTables::ports);
  CLI::App* fdb = add_listing(*command, options, "fdb", "/fdb",
                              "Which address is behind which port", &CtlTables::stations);
  CLI::App* forget = fdb->add_subcommand("forget", "Forget all, and learn anew");
  forget->callback([options] { ask(*options, "DELETE", "/fdb"); });
  add_listing(*command, options, "leases", "/leases", "Who has which address, and where",
              &CtlTables::leases);
  add_listing(*command, options, "guests", "/guests", "What guests have shown of themselves",
              &CtlTables::guests);
  add_listing(*command, options, "loops", "/loops", "Do frames come back?", &CtlTables::loops);
  add_listing(*command, options, "reasons", "/reasons", "What was out of reach, and why",
              &CtlTables::reasons);
  add_flows(*command, options);
  add_listing(*command, options, "egress", "/egress", "All that guests reached for so far",
              &CtlTables::egress);
  add_policy(*command, options);
  add_link(*command, options);
  add_events(*command, options);
  add_capture(*command, options);
  add_forward(*command, options);
  CLI::App* metrics = command->add_subcommand("metrics", "Counters as Prometheus reads them");
  metrics->callback([options] { write_out(ask(*options, "GET", "/metrics")); });
  CLI::App* get = command->add_subcommand("get", "Any GET request: / lists what there is");
  get->add_option("PATH", options->word, "For example /ports/1")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  get->callback([options] { write_out(ask(*options, "GET", options->word)); });
}

}  // namespace tools
