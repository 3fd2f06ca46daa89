#include "tools/doctor/lan_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "netstack/base/counted.h"

namespace tools {

using nlohmann::ordered_json;

namespace {

constexpr size_t kPortColumns = 25;
constexpr size_t kStationsShown_count = 8;  // of a port, in text: behind a bridge there may be many

bool is_at(const LanSight& lan, const std::string& mac, unsigned port) {
  if (mac.empty()) return false;
  const auto places = lan.places();
  const auto place = places.find(mac);
  return place != places.end() && place->second.port == port;
}

bool concerns_port(const Finding& finding, const LanSight& lan, unsigned port) {
  if (finding.port) return finding.port == port || finding.other_port == port;
  return is_at(lan, finding.address, port) || is_at(lan, finding.other_address, port);
}

// What is told of a port as a whole concerns each station there.
bool concerns_station(const Finding& finding, unsigned port, const std::string& mac) {
  if (finding.address.empty()) return finding.port == port;
  return finding.address == mac || finding.other_address == mac;
}

Mark mark_of(const LanSight& lan, const Findings& findings, unsigned port,
             const std::string& mac = {}) {
  Mark mark = Mark::kOk;
  for (const Finding& finding : findings) {
    if (mac.empty() ? concerns_port(finding, lan, port) : concerns_station(finding, port, mac)) {
      mark = std::max(mark, finding.mark());
    }
  }
  return mark;
}

std::vector<std::string> macs_at(const LanSight& lan, unsigned port) {
  std::vector<std::string> macs;
  for (const auto& [mac, place] : lan.places()) {
    if (place.port == port) macs.push_back(mac);
  }
  return macs;
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

std::string describe_guest(const Page& page, const LanSight& lan, const std::string& mac) {
  const std::string address = lan.address_of(mac);
  const std::string name = page.plain(lan.name_of(mac));
  const auto places = lan.places();
  const GuestPlace& place = places.at(mac);
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

void draw_port(Page& page, const LanSight& lan, const Findings& findings, const PortSight& port,
               bool last) {
  const bool is_gateway = lan.gateway && lan.gateway->port == port.number;
  const std::string stem =
      fmt::format("{} {} {:<8}", page.branch(last), page.mark(mark_of(lan, findings, port.number)),
                  where(port.number));
  const auto macs = macs_at(lan, port.number);
  if (is_gateway) {
    return page.line(fmt::format("{}{:<{}} {}", stem, who(page, port), kPortColumns,
                                 page.plain(lan.gateway->address)));
  }
  if (macs.size() == 1) {
    return page.line(fmt::format("{}{:<{}} {}", stem, who(page, port), kPortColumns,
                                 describe_guest(page, lan, macs.front())));
  }
  page.line(fmt::format("{}{:<{}} {}", stem, who(page, port), kPortColumns,
                        port.plugs.empty() ? ""
                        : macs.empty()     ? "nobody was heard"
                                           : netstack::counted(macs.size(), "station")));
  for (size_t at = 0; at < std::min(macs.size(), kStationsShown_count); ++at) {
    page.line(fmt::format("{}    {} {}", page.stem(last),
                          page.mark(mark_of(lan, findings, port.number, macs[at])),
                          describe_guest(page, lan, macs[at])));
  }
  if (macs.size() > kStationsShown_count) {
    page.line(
        fmt::format("{}    and {} more", page.stem(last), macs.size() - kStationsShown_count));
  }
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

ordered_json port_json(const LanSight& lan, const Findings& findings, const PortSight& port) {
  ordered_json out;
  out["number"] = port.number;
  out["mark"] = mark_name(mark_of(lan, findings, port.number));
  out["link"] = port.link_up ? "up" : "down";
  out["plugs"] = ordered_json::array();
  for (const PlugSight& plug : port.plugs) out["plugs"].push_back(plug.name);
  out["stations"] = ordered_json::array();
  const auto places = lan.places();
  for (const std::string& mac : macs_at(lan, port.number)) {
    const std::string address = lan.address_of(mac);
    const std::string name = lan.name_of(mac);
    out["stations"].push_back(
        {{"mac", mac},
         {"mark", mark_name(mark_of(lan, findings, port.number, mac))},
         {"address", address.empty() ? ordered_json(nullptr) : ordered_json(address)},
         {"name", name.empty() ? ordered_json(nullptr) : ordered_json(name)},
         {"vids", places.at(mac).vids},
         {"silent_s", places.at(mac).silent_s}});
  }
  return out;
}

}  // namespace

std::string lan_text(const LanSight& lan, const Findings& findings, const PageStyle& style) {
  Page page(style);
  const std::string gateway =
      lan.gateway ? fmt::format("gateway {} of {}", lan.gateway->address, lan.gateway->network)
                  : "no gateway";
  page.line(page.plain(fmt::format("LAN {}: {}, {}, {}", lan.directory,
                                   netstack::counted(lan.ports.size(), "port"),
                                   netstack::counted(lan.places().size(), "guest"), gateway)));
  for (const PortSight& port : lan.ports) {
    draw_port(page, lan, findings, port, &port == &lan.ports.back());
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
  for (const PortSight& port : lan.ports) out["ports"].push_back(port_json(lan, findings, port));
  out["checks"] = ordered_json::array();
  for (const Finding& finding : shown(findings)) out["checks"].push_back(as_json(finding));
  return dump(out);
}

}  // namespace tools
