#include "tools/lanyard/ctl_tables.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "netstack/base/counted.h"
#include "tools/control/text_table.h"

namespace tools {

using nlohmann::json;
using Rows = std::vector<std::vector<TextCell>>;

namespace {

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

std::string ago_cell(const json& object, const char* name) {
  const std::string text = duration_cell(object, name);
  return text == "-" ? text : text + " ago";
}

std::string drops_cell(const json& drops) {
  std::string text;
  for (const auto& [reason, frames] : drops.items()) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", frames.get<uint64_t>(), reason);
  }
  return text.empty() ? "-" : text;
}

// What pulls frames out of reach first: the cable, then plugs at which nobody is.
TextCell link_cell(const json& port) {
  if (port.at("link") == "down") return {"down", true};
  const json& plugs = port.at("plugs");
  const auto is_dead = [](const json& plug) { return plug.at("ready") == false; };
  if (plugs.empty()) return {"free"};  // what is set up for it waits for the next plug
  if (std::ranges::all_of(plugs, is_dead)) return {"not ready", true};
  return cell(port, "link");
}

std::string plugs_cell(const json& plugs) {
  std::string text;
  for (const json& plug : items(plugs))
    text.append(text.empty() ? "" : ", ").append(cell(plug, "name"));
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

// "3 requests for a lease, frames in VLAN 5": what a guest has shown of itself.
std::string signs_cell(const json& guest) {
  struct SignRow {
    const char* member;
    const char* noun;  // of what is counted; "": told by the words
    const char* words;
    const char* detail;  // a member of it; "": none
  };
  constexpr std::array kSigns{
      SignRow{"dhcp", "DHCP message", "", ""},
      SignRow{"declined", "lease", " declined, the last", "address"},
      SignRow{"off_subnet", "ARP request", " beyond the network, the last for", "address"},
      SignRow{"tagged", "frame", " in VLAN", "vid"},
      SignRow{"tagged_for_gateway", "", " of them for the gateway, in VLAN", "vid"},
      SignRow{"foreign", "packet", " from foreign addresses, the last", "address"},
      SignRow{"oversized", "frame", " too long, the longest in bytes", "bytes"},
  };
  std::string text;
  for (const SignRow& row : kSigns) {
    const auto sign = guest.find(row.member);
    if (sign == guest.end() || !sign->is_object()) continue;
    const std::string count = cell(*sign, "count");
    text += fmt::format("{}{}{}", text.empty() ? "" : "; ",
                        *row.noun == '\0' ? count : netstack::counted(count, row.noun), row.words);
    if (*row.detail != '\0') text += ' ' + cell(*sign, row.detail);
  }
  return text.empty() ? "-" : text;
}

}  // namespace

const json::array_t& items(const json& list) {
  const auto& all = list.get_ref<const json::array_t&>();
  for (const json& one : all) std::ignore = one.get_ref<const json::object_t&>();
  return all;
}

std::string CtlTables::ports(const json& ports) const {
  Rows rows{{"PORT", "LINK", "IN", "OUT", "PLUGS", "DROPPED"}};
  for (const json& port : items(ports)) {
    const json& counters = port.at("counters");
    rows.push_back({{cell(port, "number")},
                    link_cell(port),
                    {cell(counters, "ingress_frames")},
                    {cell(counters, "egress_frames")},
                    {plugs_cell(port.at("plugs"))},
                    {drops_cell(counters.at("drops"))}});
  }
  return text_table(rows, colours_);
}

std::string CtlTables::stations(const json& stations) const {
  Rows rows{{"MAC", "VLAN", "PORT", "SILENT"}};
  for (const json& station : items(stations)) {
    rows.push_back({{cell(station, "mac")},
                    {vlan_cell(station)},
                    {cell(station, "port")},
                    {duration_cell(station, "age_s")}});
  }
  return text_table(rows, colours_);
}

std::string CtlTables::leases(const json& leases) const {
  Rows rows{{"ADDRESS", "NAME", "MAC", "PORT", "VLAN", "STATE", "ENDS IN", "SILENT"}};
  for (const json& lease : items(leases)) {
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
  return text_table(rows, colours_);
}

std::string CtlTables::captures(const json& captures) const {
  Rows rows{{"ID", "FRAMES", "LEFT OUT", "LOST", "FILE", "FILTER"}};
  for (const json& capture : items(captures)) {
    const std::string lost = cell(capture, "lost");
    rows.push_back({{cell(capture, "id")},
                    {cell(capture, "frames")},
                    {cell(capture, "left_out")},
                    {lost, lost != "0"},
                    {cell(capture, "file")},
                    {cell(capture, "filter")}});
  }
  return text_table(rows, colours_);
}

std::string CtlTables::reasons(const json& reasons) const {
  std::string text;
  for (const json& reason : items(reasons)) {
    text += fmt::format("{}  {}×  {}\n    {}\n", target_text(reason), cell(reason, "count"),
                        bold(cell(reason, "cause"), colours_), sentence(cell(reason, "fact")));
    const std::string cure = cell(reason, "cure");
    if (cure != "-") text += fmt::format("    Try: {}\n", sentence(cure));
  }
  return text.empty() ? "Nothing was out of reach.\n" : text;
}

std::string CtlTables::flows(const json& flows) const {
  Rows rows{
      {"FLOW", "DIRECTION", "GUEST", "FAR END", "NAME", "STATE", "OUT", "IN", "LASTED", "WHY"}};
  for (const json& flow : items(flows.at("flows"))) {
    const std::string port = cell(flow, "port");
    const std::string why = cell(flow, "reason") != "-" ? cell(flow, "reason") : cell(flow, "rule");
    rows.push_back({{cell(flow, "protocol")},
                    {cell(flow, "direction")},
                    {cell(flow.at("guest"), "address")},
                    {cell(flow, "address") + (port == "-" ? "" : " port " + port)},
                    {cell(flow, "name")},
                    {cell(flow, "state"), why != "-"},
                    {cell(flow, "bytes_out")},
                    {cell(flow, "bytes_in")},
                    {duration_cell(flow, "duration_s")},
                    {why}});
  }
  return text_table(rows, colours_) +
         fmt::format("{} live of {} at most, {} opened so far; the last {} shown\n",
                     netstack::counted(cell(flows, "live"), "flow"), cell(flows, "limit"),
                     cell(flows, "opened"), rows.size() - 1);
}

std::string CtlTables::egress(const json& egress) const {
  const auto counts = [](const json& named) {  // {"closed": 1, "denied": 2}: "1 closed, 2 denied"
    std::string text;
    for (const auto& [name, count] : named.items()) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count.dump(), name);
    }
    return text;
  };
  Rows rows{{"PROTOCOL", "PLACE", "PORT", "OUT", "IN", "OUTCOME", "WHY"}};
  for (const json& place : items(egress.at("places"))) {
    rows.push_back({{cell(place, "protocol")},
                    {cell(place, "place")},
                    {cell(place, "port")},
                    {cell(place, "bytes_out")},
                    {cell(place, "bytes_in")},
                    {counts(place.at("outcomes")), !place.at("reasons").empty()},
                    {counts(place.at("reasons"))}});
  }
  return text_table(rows, colours_);
}

std::string CtlTables::policy(const json& policy) const {
  Rows rows{{"ID", "ACTION", "DECIDED", "WHAT"}};
  for (const json& rule : items(policy.at("rules"))) {
    rows.push_back({{cell(rule, "id")},
                    {cell(rule, "action"), rule.at("action") == "deny"},
                    {cell(rule, "decided")},
                    {cell(rule, "match")}});
  }
  std::string text = rows.size() > 1 ? text_table(rows, colours_) : "There are no rules.\n";
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

std::string CtlTables::guests(const json& book) const {
  Rows rows{{"MAC", "HEARD", "HAS SHOWN"}};
  for (const json& guest : items(book.at("guests"))) {
    rows.push_back({cell(guest, "mac"), ago_cell(guest, "heard_s"), signs_cell(guest)});
  }
  Rows claims{{"ADDRESS", "MAC", "HEARD", "CHANGED HANDS", "BEFORE"}};
  for (const json& claim : items(book.at("claims"))) {
    const std::string changes = cell(claim, "changes");
    claims.push_back({cell(claim, "address"),
                      cell(claim, "mac"),
                      ago_cell(claim, "heard_s"),
                      {changes == "0" ? "-" : changes, changes != "0"},
                      cell(claim, "rival")});
  }
  std::string text = rows.size() > 1 ? text_table(rows, colours_)
                                     : "The gateway has seen nothing worth a note of a guest.\n";
  if (claims.size() > 1) text += '\n' + text_table(claims, colours_);
  return text;
}

std::string CtlTables::loops(const json& loops) const {
  std::string ports;
  for (const json& port : loops.at("ports"))
    ports.append(ports.empty() ? "" : ", ").append(port.dump());
  const bool engaged = loops.at("engaged") == true;
  return fmt::format("{} {} since the switch started.\n",
                     !engaged        ? "Frames do not come back."
                     : ports.empty() ? "Frames come back."
                                     : fmt::format("Frames come back, by the ports {}.", ports),
                     netstack::counted(cell(loops, "episodes"), "loop"));
}

std::string CtlTables::forwards(const json& forwards) const {
  Rows rows{{"NUMBER", "FORWARD", "STATE", "CONNECTIONS", "FAILED", "GUEST"}};
  for (const json& forward : items(forwards)) {
    const std::string failed = cell(forward, "failed");
    rows.push_back({cell(forward, "number"),
                    cell(forward, "forward"),
                    {cell(forward, "state"), cell(forward, "state") == "waiting"},
                    cell(forward, "connections"),
                    {failed, failed != "0"},
                    cell(forward, "explanation")});
  }
  return text_table(rows, colours_);
}

std::string CtlTables::sandbox(const json& sandbox) const {
  std::string text = "The switch is " + cell(sandbox, "explanation") + '\n';
  for (const json& gap : sandbox.value("gaps", json::array())) {
    if (gap.is_string()) text += clean(gap.get<std::string>()) + '\n';
  }
  return text;
}

std::string CtlTables::overview(const Overview& lan) const {
  std::map<std::string, const json*> by_port;  // the lease of the guest heard there last
  if (!lan.leases.is_null()) {
    for (const json& lease : items(lan.leases)) {
      if (cell(lease, "state") == "bound") by_port[cell(lease, "port")] = &lease;
    }
  }
  std::string text = fmt::format("{}  {}, {}, {} heard{}\n", bold(lan.directory, colours_),
                                 clean(lan.about.at("program").get_ref<const std::string&>()),
                                 netstack::counted(items(lan.ports).size(), "port"),
                                 items(lan.stations).size() == 1
                                     ? "1 address"
                                     : fmt::format("{} addresses", lan.stations.size()),
                                 lan.leases.is_null() ? ", no gateway (--nat adds one)" : "");
  if (lan.about.contains("sandbox")) text += sandbox(lan.about["sandbox"]);
  text += '\n';
  Rows rows{{"PORT", "LINK", "GUEST", "ADDRESS", "MAC", "IN", "OUT", "PLUGS", "DROPPED"}};
  for (const json& port : items(lan.ports)) {
    const json& counters = port.at("counters");
    const auto found = by_port.find(cell(port, "number"));
    const json lease = found == by_port.end() ? json::object() : *found->second;
    rows.push_back({{cell(port, "number")},
                    link_cell(port),
                    {cell(lease, "name")},
                    {cell(lease, "address")},
                    {cell(lease, "mac")},
                    {cell(counters, "ingress_frames")},
                    {cell(counters, "egress_frames")},
                    {plugs_cell(port.at("plugs"))},
                    {drops_cell(counters.at("drops"))}});
  }
  text += lan.ports.empty() ? "Nobody is plugged in.\n" : text_table(rows, colours_);
  if (!lan.reasons.is_null() && !items(lan.reasons).empty()) {
    json latest = json::array();
    const size_t count = lan.reasons.size();
    for (size_t at = count - std::min(count, kReasonsShown_count); at < count; ++at) {
      latest.push_back(lan.reasons[at]);
    }
    text += fmt::format("\n{}\n{}", bold("OUT OF REACH", colours_), reasons(latest));
    if (count > latest.size()) {
      text += fmt::format("and {} more: lanyard ctl {} reasons\n", count - latest.size(),
                          lan.directory);
    }
  }
  if (!items(lan.captures).empty()) {
    text += fmt::format("\n{}\n{}", bold("CAPTURES", colours_), captures(lan.captures));
  }
  return text;
}

}  // namespace tools
