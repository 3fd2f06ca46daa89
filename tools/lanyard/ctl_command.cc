#include "tools/lanyard/ctl_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "netstack/base/error.h"
#include "tools/control/text_table.h"
#include "tools/lanyard/control_client.h"
#include "tools/lanyard/ctl_forward.h"
#include "tools/lanyard/ctl_request.h"

namespace tools {

namespace {

using nlohmann::json;

std::string ports_table(const json& ports) {
  std::vector<std::vector<std::string>> rows{
      {"PORT", "LINK", "FRAMES IN", "OUT", "DROPPED", "PLUGS"}};
  for (const json& port : ports) {
    const json& counters = port["counters"];
    uint64_t dropped = 0;
    std::string reasons;
    for (const auto& [reason, frames] : counters["drops"].items()) {
      dropped += frames.get<uint64_t>();
      reasons += (reasons.empty() ? " " : ", ") + reason;
    }
    std::string plugs;
    for (const json& plug : port["plugs"]) {
      plugs += (plugs.empty() ? "" : ", ") + plug["name"].get<std::string>();
    }
    rows.push_back({std::to_string(port["number"].get<unsigned>()), port["link"],
                    std::to_string(counters["ingress_frames"].get<uint64_t>()),
                    std::to_string(counters["egress_frames"].get<uint64_t>()),
                    std::to_string(dropped) + reasons, plugs});
  }
  return text_table(rows);
}

std::string stations_table(const json& stations) {
  std::vector<std::vector<std::string>> rows{{"MAC", "VLAN", "PORT", "SILENT"}};
  for (const json& station : stations) {
    const unsigned vid = station["vid"];
    rows.push_back({station["mac"], vid == 0 ? "-" : std::to_string(vid),
                    std::to_string(station["port"].get<unsigned>()),
                    fmt::format("{:.0f} s", station["age_s"].get<double>())});
  }
  return text_table(rows);
}

using Show = std::string (*)(const json&);

void add_listing(CLI::App& app, const std::shared_ptr<CtlOptions>& options, const char* name,
                 const char* path, const char* help, Show show) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", options->as_json, "The answer as it came, for machines");
  command->callback([options, path, show] {
    const std::string body = ask(*options, "GET", path);
    write_out(options->as_json ? body : show(json::parse(body)));
  });
}

void add_link(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = app.add_subcommand("link", "Pull a port's cable out, or put it back");
  command->add_option("PORT", options->port, "The port's number")->required()->type_name("");
  command->add_option("STATE", options->word, "up or down")
      ->required()
      ->check(CLI::IsMember({"up", "down"}))
      ->type_name("");
  command->callback([options] {
    ask(*options, "PUT", fmt::format("/ports/{}/link", options->port),
        {{"up", options->word == "up"}});
  });
}

void add_events(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command =
      app.add_subcommand("events", "What happens in the LAN, a line of JSON each, until Ctrl-C");
  command->add_flag("--from-oldest", options->from_oldest, "Begin with what has happened before");
  command->callback([options] {
    ask_control(options->directory, "GET", options->from_oldest ? "/events?from=oldest" : "/events",
                {}, write_out);
  });
}

void add_capture(CLI::App& app, const std::shared_ptr<CtlOptions>& options) {
  CLI::App* command = app.add_subcommand("capture", "Begin or end a capture");
  command->require_subcommand(1);
  CLI::App* start = command->add_subcommand("start", "Write every frame to FILE from now on");
  start->add_option("FILE", options->word, "The pcap file; emptied")->required()->type_name("");
  start->callback([options] {
    char* here = ::getcwd(nullptr, 0);  // the switch has a working directory of its own
    const std::string folder = here != nullptr ? here : "";
    std::free(here);
    const std::string file =
        options->word.starts_with('/') ? options->word : folder + '/' + options->word;
    ask(*options, "POST", "/captures", {{"file", file}});
  });
  CLI::App* stop = command->add_subcommand("stop", "Write what is left and close the file");
  stop->callback([options] { ask(*options, "DELETE", "/captures"); });
}

}  // namespace

void add_ctl_command(CLI::App& app, int&) {
  auto options = std::make_shared<CtlOptions>();
  CLI::App* command = app.add_subcommand("ctl", "Look at a running LAN and change it");
  command->add_option("DIR", options->directory, "The LAN's directory")->required()->type_name("");
  command->require_subcommand(1);
  add_listing(*command, options, "ports", "/ports", "Ports, their plugs and counters", ports_table);
  add_listing(*command, options, "fdb", "/fdb", "Which address is behind which port",
              stations_table);
  add_link(*command, options);
  add_events(*command, options);
  add_capture(*command, options);
  add_forward(*command, options);
  CLI::App* metrics = command->add_subcommand("metrics", "Counters as Prometheus reads them");
  metrics->callback([options] { write_out(ask(*options, "GET", "/metrics")); });
  CLI::App* get = command->add_subcommand("get", "Any GET request: / lists what there is");
  get->add_option("PATH", options->word, "For example /ports/1")->required()->type_name("");
  get->callback([options] { write_out(ask(*options, "GET", options->word)); });
}

}  // namespace tools
