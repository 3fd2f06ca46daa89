#include "tools/lanyard/ctl_tables.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>
#include <vector>

namespace tools {

using nlohmann::json;

struct CtlTables::Cell {
  Cell(std::string cell_text, bool cell_alarms = false)  // NOLINT: rows are written as lists
      : text(std::move(cell_text)), alarms(cell_alarms) {}

  std::string text;
  bool alarms;  // deserves a look
};

namespace {

constexpr const char* kBold = "\033[1m";
constexpr const char* kRed = "\033[31m";
constexpr const char* kPlain = "\033[0m";
constexpr size_t kReasonsShown_count = 5;  // in the overview

// Without control characters: C0, DEL, and C1, which in UTF-8 is c2 80 to c2 9f.
std::string clean(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const auto next = static_cast<unsigned char>(at + 1 < text.size() ? text[at + 1] : 0);
    const bool c1 = byte == 0xc2 && next >= 0x80 && next <= 0x9f;
    if (c1) ++at;
    out += c1 || byte < 0x20 || byte == 0x7f ? '?' : static_cast<char>(byte);
  }
  return out;
}

// Characters, each taken to be one column wide.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U; }));
}

// A member as a cell shows it; absent, null and empty are "-".
std::string cell(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return "-";
  const std::string text = found->is_string() ? found->get<std::string>() : found->dump();
  return text.empty() ? "-" : clean(text);
}

std::string vlan_cell(const json& object) {
  const std::string vid = cell(object, "vid");
  return vid == "0" ? "-" : vid;
}

std::string duration(double s) {
  if (s < 120) return fmt::format("{:.0f} s", s);
  if (s < 7200) return fmt::format("{:.0f} min", s / 60);
  return fmt::format("{:.0f} h", s / 3600);
}

std::string duration_cell(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || !found->is_number() ? "-" : duration(found->get<double>());
}

std::string drops_cell(const json& drops) {
  std::string text;
  for (const auto& [reason, frames] : drops.items()) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", frames.get<uint64_t>(), reason);
  }
  return text.empty() ? "-" : text;
}

std::string plugs_cell(const json& plugs) {
  std::string text;
  for (const json& plug : plugs) text += (text.empty() ? "" : ", ") + cell(plug, "name");
  return text.empty() ? "-" : text;
}

std::string target_text(const json& reason) {
  const json& target = reason.at("target");
  const std::string port = cell(target, "port");
  return fmt::format("{} → {}{} {}", cell(reason, "guest"), cell(target, "address"),
                     port == "-" ? "" : " port " + port, cell(target, "protocol"));
}

std::string sentence(std::string text) {
  if (!text.empty() && text.back() != '.') text += '.';
  return text;
}

}  // namespace

std::string CtlTables::heading(const std::string& text) const {
  return colours_ ? kBold + text + kPlain : text;
}

// The first row is the heading.
std::string CtlTables::table(const std::vector<std::vector<Cell>>& rows) const {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t at = 0; at < row.size(); ++at) {
      widths[at] = std::max(widths[at], width_of(row[at].text));
    }
  }
  std::string text;
  for (size_t at = 0; at < rows.size(); ++at) {
    std::string line;
    for (size_t column = 0; column < rows[at].size(); ++column) {
      const Cell& one = rows[at][column];
      const std::string gap(widths[column] - width_of(one.text) + 2, ' ');
      const bool last = column + 1 == rows[at].size();
      line += one.alarms && colours_ ? kRed + one.text + kPlain : one.text;
      if (!last) line += gap;
    }
    text += (at == 0 ? heading(line) : line) + '\n';
  }
  return text;
}

std::string CtlTables::ports(const json& ports) const {
  std::vector<std::vector<Cell>> rows{
      {{"PORT"}, {"LINK"}, {"IN"}, {"OUT"}, {"PLUGS"}, {"DROPPED"}}};
  for (const json& port : ports) {
    const json& counters = port.at("counters");
    const bool down = port.at("link") == "down";
    rows.push_back({{cell(port, "number")},
                    {cell(port, "link"), down},
                    {cell(counters, "ingress_frames")},
                    {cell(counters, "egress_frames")},
                    {plugs_cell(port.at("plugs"))},
                    {drops_cell(counters.at("drops"))}});
  }
  return table(rows);
}

std::string CtlTables::stations(const json& stations) const {
  std::vector<std::vector<Cell>> rows{{{"MAC"}, {"VLAN"}, {"PORT"}, {"SILENT"}}};
  for (const json& station : stations) {
    rows.push_back({{cell(station, "mac")},
                    {vlan_cell(station)},
                    {cell(station, "port")},
                    {duration_cell(station, "age_s")}});
  }
  return table(rows);
}

std::string CtlTables::leases(const json& leases) const {
  std::vector<std::vector<Cell>> rows{
      {{"ADDRESS"}, {"NAME"}, {"MAC"}, {"PORT"}, {"VLAN"}, {"STATE"}, {"ENDS IN"}, {"SILENT"}}};
  for (const json& lease : leases) {
    const std::string state = cell(lease, "state");
    rows.push_back({{cell(lease, "address")},
                    {cell(lease, "name")},
                    {cell(lease, "mac")},
                    {cell(lease, "port")},
                    {vlan_cell(lease)},
                    {state, state == "ended"},
                    {state == "ended" ? "-" : duration_cell(lease, "left_s")},
                    {duration_cell(lease, "silent_s")}});
  }
  return table(rows);
}

std::string CtlTables::captures(const json& captures) const {
  std::vector<std::vector<Cell>> rows{{{"ID"}, {"FRAMES"}, {"LOST"}, {"FILE"}}};
  for (const json& capture : captures) {
    const std::string lost = cell(capture, "lost");
    rows.push_back({{cell(capture, "id")},
                    {cell(capture, "frames")},
                    {lost, lost != "0"},
                    {cell(capture, "file")}});
  }
  return table(rows);
}

std::string CtlTables::reasons(const json& reasons) const {
  std::string text;
  for (const json& reason : reasons) {
    text += fmt::format("{}  {}×  {}\n    {}\n", target_text(reason), cell(reason, "count"),
                        heading(cell(reason, "cause")), sentence(cell(reason, "fact")));
    const std::string cure = cell(reason, "cure");
    if (cure != "-") text += fmt::format("    Try: {}\n", sentence(cure));
  }
  return text.empty() ? "Nothing was out of reach.\n" : text;
}

std::string CtlTables::flows(const json& flows) const {
  std::vector<std::vector<Cell>> rows{
      {{"FLOW"}, {"GUEST"}, {"TO"}, {"NAME"}, {"STATE"}, {"OUT"}, {"IN"}, {"LASTED"}, {"WHY"}}};
  for (const json& flow : flows.at("flows")) {
    const std::string port = cell(flow, "port");
    const std::string why = cell(flow, "reason") != "-" ? cell(flow, "reason") : cell(flow, "rule");
    rows.push_back({{cell(flow, "protocol")},
                    {cell(flow.at("guest"), "address")},
                    {cell(flow, "address") + (port == "-" ? "" : " port " + port)},
                    {cell(flow, "name")},
                    {cell(flow, "state"), why != "-"},
                    {cell(flow, "bytes_out")},
                    {cell(flow, "bytes_in")},
                    {duration_cell(flow, "duration_s")},
                    {why}});
  }
  return table(rows) +
         fmt::format("{} flows live of {} at most, {} opened so far; the last {} are shown\n",
                     cell(flows, "live"), cell(flows, "limit"), cell(flows, "opened"),
                     rows.size() - 1);
}

std::string CtlTables::egress(const json& egress) const {
  const auto counts = [](const json& named) {  // {"closed": 1, "denied": 2}: "1 closed, 2 denied"
    std::string text;
    for (const auto& [name, count] : named.items()) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count.dump(), name);
    }
    return text;
  };
  std::vector<std::vector<Cell>> rows{
      {{"PROTOCOL"}, {"PLACE"}, {"PORT"}, {"OUT"}, {"IN"}, {"OUTCOME"}, {"WHY"}}};
  for (const json& place : egress.at("places")) {
    rows.push_back({{cell(place, "protocol")},
                    {cell(place, "place")},
                    {cell(place, "port")},
                    {cell(place, "bytes_out")},
                    {cell(place, "bytes_in")},
                    {counts(place.at("outcomes")), !place.at("reasons").empty()},
                    {counts(place.at("reasons"))}});
  }
  return table(rows);
}

std::string CtlTables::policy(const json& policy) const {
  std::vector<std::vector<Cell>> rows{{{"ID"}, {"ACTION"}, {"DECIDED"}, {"WHAT"}}};
  for (const json& rule : policy.at("rules")) {
    rows.push_back({{cell(rule, "id")},
                    {cell(rule, "action"), rule.at("action") == "deny"},
                    {cell(rule, "decided")},
                    {cell(rule, "match")}});
  }
  std::string text = rows.size() > 1 ? table(rows) : "There are no rules.\n";
  text +=
      fmt::format("What no rule fits: {}{}\n", cell(policy, "otherwise"),
                  policy.at("restricted") == true ? " (guests are restricted to forwards)" : "");
  for (const json& remark : policy.at("remarks")) {
    text += clean(remark.is_string() ? remark.get<std::string>() : remark.dump()) + '\n';
  }
  return text;
}

std::string CtlTables::event(const json& event) const {
  const double time_s = event.value("time", 0.0);
  const auto whole_s = static_cast<std::time_t>(time_s);
  std::string line = fmt::format("{:%H:%M:%S}.{:03}  {:<16}", fmt::localtime(whole_s),
                                 static_cast<int>((time_s - static_cast<double>(whole_s)) * 1000),
                                 cell(event, "event"));
  for (const auto& [name, value] : event.items()) {
    if (name == "event" || name == "time" || name == "number") continue;
    if (value.is_null() || value == "") continue;
    line += fmt::format("  {}={}", name, cell(event, name.c_str()));
  }
  return line + '\n';
}

std::string CtlTables::overview(const Overview& lan) const {
  std::map<std::string, const json*> by_port;  // the lease of the guest heard there last
  for (const json& lease : lan.leases) {
    if (cell(lease, "state") == "bound") by_port[cell(lease, "port")] = &lease;
  }
  std::string text =
      fmt::format("{}  {}, {} ports, {} addresses heard{}\n\n", heading(lan.directory), lan.program,
                  lan.ports.size(), lan.stations.size(),
                  lan.leases.is_null() ? ", no gateway (--nat adds one)" : "");
  std::vector<std::vector<Cell>> rows{{{"PORT"},
                                       {"LINK"},
                                       {"GUEST"},
                                       {"ADDRESS"},
                                       {"MAC"},
                                       {"IN"},
                                       {"OUT"},
                                       {"PLUGS"},
                                       {"DROPPED"}}};
  for (const json& port : lan.ports) {
    const json& counters = port.at("counters");
    const auto found = by_port.find(cell(port, "number"));
    const json lease = found == by_port.end() ? json::object() : *found->second;
    rows.push_back({{cell(port, "number")},
                    {cell(port, "link"), port.at("link") == "down"},
                    {cell(lease, "name")},
                    {cell(lease, "address")},
                    {cell(lease, "mac")},
                    {cell(counters, "ingress_frames")},
                    {cell(counters, "egress_frames")},
                    {plugs_cell(port.at("plugs"))},
                    {drops_cell(counters.at("drops"))}});
  }
  text += lan.ports.empty() ? "Nobody is plugged in.\n" : table(rows);
  if (!lan.reasons.is_null() && !lan.reasons.empty()) {
    json latest = json::array();
    const size_t count = lan.reasons.size();
    for (size_t at = count - std::min(count, kReasonsShown_count); at < count; ++at) {
      latest.push_back(lan.reasons[at]);
    }
    text += fmt::format("\n{}\n{}", heading("OUT OF REACH"), reasons(latest));
    if (count > latest.size()) {
      text += fmt::format("and {} more: lanyard ctl {} reasons\n", count - latest.size(),
                          lan.directory);
    }
  }
  if (!lan.captures.empty()) {
    text += fmt::format("\n{}\n{}", heading("CAPTURES"), captures(lan.captures));
  }
  return text;
}

}  // namespace tools
