#include "tools/doctor/lan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "netstack/base/counted.h"

namespace tools {

using nlohmann::ordered_json;

namespace {

constexpr size_t kPortColumns = 25;
constexpr size_t kStationsShown_count = 8;  // of a port, in text: behind a bridge there may be many

// Who is where and bears which mark, found once: a guest with many faces makes thousands of
// stations and as many findings.
class Picture {
 public:
  Picture(const LanSight& seen, const Findings& findings);

  Mark mark_of(unsigned port) const { return of(ports_, port); }
  // What is told of a port as a whole concerns each station there.
  Mark mark_of(unsigned port, const std::string& mac) const {
    return std::max(of(whole_ports_, port), of(stations_, mac));
  }
  const std::vector<std::string>& macs_at(unsigned port) const {
    static const std::vector<std::string> kNone;
    const auto at = macs_.find(port);
    return at == macs_.end() ? kNone : at->second;
  }

  const LanSight& lan;
  const std::map<std::string, GuestPlace> places;

 private:
  template <typename Marks>
  static Mark of(const Marks& marks, const typename Marks::key_type& of_whom) {
    const auto at = marks.find(of_whom);
    return at == marks.end() ? Mark::kOk : at->second;
  }
  template <typename Marks>
  static void raise(Marks& marks, const typename Marks::key_type& of_whom, Mark mark) {
    Mark& known = marks.try_emplace(of_whom, Mark::kOk).first->second;
    known = std::max(known, mark);
  }
  void raise_station(const std::string& mac, Mark mark, bool with_port);

  std::map<unsigned, std::vector<std::string>> macs_;
  std::map<unsigned, Mark> ports_;
  std::map<unsigned, Mark> whole_ports_;
  std::map<std::string, Mark> stations_;
};

Picture::Picture(const LanSight& seen, const Findings& findings)
    : lan(seen), places(seen.places()) {
  for (const auto& [mac, place] : places) macs_[place.port].push_back(mac);
  for (const Finding& finding : findings) {
    const Mark mark = finding.mark();
    if (finding.port) raise(ports_, *finding.port, mark);
    if (finding.port && finding.other_port) raise(ports_, *finding.other_port, mark);
    if (finding.port && finding.address.empty()) raise(whole_ports_, *finding.port, mark);
    raise_station(finding.address, mark, !finding.port);
    raise_station(finding.other_address, mark, !finding.port);
  }
}

void Picture::raise_station(const std::string& mac, Mark mark, bool with_port) {
  if (mac.empty()) return;
  raise(stations_, mac, mark);
  const auto place = places.find(mac);
  if (with_port && place != places.end()) raise(ports_, place->second.port, mark);
}

// --- text ---------------------------------------------------------------------------------------

std::string who(const Page& page, const PortSight& port) {
  if (port.plugs.empty()) return "nobody is plugged in";
  std::string names;
  for (const PlugSight& plug : port.plugs) {
    if (!names.empty()) names += ", ";
    names += page.plain(plug.name);
    if (plug.description.empty() || plug.name.find(plug.description) != plug.name.npos) continue;
    names += fmt::format(" \"{}\"", page.plain(plug.description));
  }
  return port.link_up ? names : names + ", link down";
}

std::string describe_guest(const Page& page, const Picture& picture, const std::string& mac) {
  const std::string address = picture.lan.address_of(mac);
  const std::string name = page.plain(picture.lan.name_of(mac));
  const GuestPlace& place = picture.places.at(mac);
  std::string vlans;
  for (const unsigned vid : place.vids) {
    if (vid != 0) vlans += fmt::format("  VLAN {}", vid);
  }
  return fmt::format("{}  {:<15}{}{}  heard {:.1f} s ago", page.plain(mac),
                     address.empty() ? "no address" : address, name.empty() ? "" : "  " + name,
                     vlans, place.silent_s);
}

std::string where(unsigned port) {
  return fmt::format("port {}", port);
}

// The worst come first: what is cut off is what matters least.
void draw_stations(Page& page, const Picture& picture, unsigned port, const std::string& stem) {
  std::vector<std::pair<Mark, std::string>> stations;
  for (const std::string& mac : picture.macs_at(port)) {
    stations.emplace_back(picture.mark_of(port, mac), mac);
  }
  std::ranges::stable_sort(stations, std::ranges::greater{}, &std::pair<Mark, std::string>::first);
  const size_t shown_count = std::min(stations.size(), kStationsShown_count);
  for (size_t at = 0; at < shown_count; ++at) {
    const auto& [mark, mac] = stations[at];
    page.line(
        fmt::format("{}    {} {}", stem, page.mark(mark), describe_guest(page, picture, mac)));
  }
  if (shown_count == stations.size()) return;
  const auto marked_count =
      std::count_if(stations.begin() + static_cast<ptrdiff_t>(shown_count), stations.end(),
                    [](const auto& station) { return station.first != Mark::kOk; });
  page.line(fmt::format("{}    and {} more{}", stem, stations.size() - shown_count,
                        marked_count == 0 ? "" : fmt::format(", {} of them marked", marked_count)));
}

void draw_port(Page& page, const Picture& picture, const PortSight& port, bool last) {
  const auto& gateway = picture.lan.gateway;
  const bool is_gateway = gateway && gateway->port == port.number;
  const std::string stem = fmt::format("{} {} {:<8}", page.branch(last),
                                       page.mark(picture.mark_of(port.number)), where(port.number));
  const auto& macs = picture.macs_at(port.number);
  if (is_gateway) {
    return page.line(fmt::format("{}{:<{}} {}", stem, who(page, port), kPortColumns,
                                 page.plain(gateway->address)));
  }
  if (macs.size() == 1) {
    return page.line(fmt::format("{}{:<{}} {}", stem, who(page, port), kPortColumns,
                                 describe_guest(page, picture, macs.front())));
  }
  page.line(fmt::format("{}{:<{}} {}", stem, who(page, port), kPortColumns,
                        port.plugs.empty() ? ""
                        : macs.empty()     ? "nobody was heard"
                                           : netstack::counted(macs.size(), "station")));
  draw_stations(page, picture, port.number, page.stem(last));
}

std::string tally(const Findings& findings) {
  const auto count = [&](Mark mark) {
    return static_cast<uint64_t>(std::ranges::count(findings, mark, &Finding::mark));
  };
  const uint64_t problems = count(Mark::kProblem);
  const uint64_t warnings = count(Mark::kWarning);
  if (problems == 0 && warnings == 0) return "Nothing is wrong that can be seen.";
  return fmt::format("{}, {}.", netstack::counted(problems, "problem"),
                     netstack::counted(warnings, "warning"));
}

// --- JSON ---------------------------------------------------------------------------------------

ordered_json port_json(const Picture& picture, const PortSight& port) {
  ordered_json out;
  out["number"] = port.number;
  out["mark"] = mark_name(picture.mark_of(port.number));
  out["link"] = port.link_up ? "up" : "down";
  out["plugs"] = ordered_json::array();
  for (const PlugSight& plug : port.plugs) out["plugs"].push_back(plug.name);
  out["stations"] = ordered_json::array();
  for (const std::string& mac : picture.macs_at(port.number)) {
    const std::string address = picture.lan.address_of(mac);
    const std::string name = picture.lan.name_of(mac);
    const GuestPlace& place = picture.places.at(mac);
    out["stations"].push_back(
        {{"mac", mac},
         {"mark", mark_name(picture.mark_of(port.number, mac))},
         {"address", address.empty() ? ordered_json(nullptr) : ordered_json(address)},
         {"name", name.empty() ? ordered_json(nullptr) : ordered_json(name)},
         {"vids", place.vids},
         {"silent_s", place.silent_s}});
  }
  return out;
}

}  // namespace

std::string lan_text(const LanSight& lan, const Findings& findings, const PageStyle& style) {
  Page page(style);
  const Picture picture(lan, findings);
  const std::string gateway =
      lan.gateway ? fmt::format("gateway {} of {}", lan.gateway->address, lan.gateway->network)
                  : "no gateway";
  page.line(page.plain(fmt::format("LAN {}: {}, {}, {}", lan.directory,
                                   netstack::counted(lan.ports.size(), "port"),
                                   netstack::counted(picture.places.size(), "guest"), gateway)));
  for (const PortSight& port : lan.ports) {
    draw_port(page, picture, port, &port == &lan.ports.back());
  }
  page.line("");
  page.findings(findings);
  page.line(tally(findings));
  return page.text();
}

std::string lan_json(const LanSight& lan, const Findings& findings) {
  ordered_json out;
  out["verdict"] = mark_name(worst(findings));
  out["lan"] = lan.directory;
  out["program"] = lan.program;
  out["gateway"] = nullptr;
  if (lan.gateway) {
    out["gateway"] = {{"port", lan.gateway->port},
                      {"address", lan.gateway->address},
                      {"network", lan.gateway->network},
                      {"mtu", lan.gateway->mtu}};
  }
  out["ports"] = ordered_json::array();
  const Picture picture(lan, findings);
  for (const PortSight& port : lan.ports) out["ports"].push_back(port_json(picture, port));
  out["checks"] = ordered_json::array();
  for (const Finding& finding : shown(findings)) out["checks"].push_back(as_json(finding));
  return dump(out);
}

}  // namespace tools
