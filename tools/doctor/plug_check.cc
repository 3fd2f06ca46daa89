// A plug is dead when frames wait for it and it takes none between two looks. A guest that is
// merely slow takes some. What a QEMU that is stopped, or a program that no longer reads, looks
// like from here is the same, so the fact says what was seen and the cure names both.
#include <fmt/format.h>

#include "netstack/base/counted.h"
#include "tools/doctor/lan_checks.h"

namespace tools {

namespace {

constexpr const char* kId = "plugs";
constexpr const char* kTitle = "plugs";

Finding dead(Finding finding, const PortSight& port) {
  finding.cause = netstack::cause_row(netstack::Cause::kPlugDead).id;
  finding.port = port.number;
  return finding;
}

bool stands_still(const PortSight& before, const PortSight& now) {
  return before.waiting_count() > 0 && now.waiting_count() > 0 &&
         now.delivered_count() == before.delivered_count();
}

bool is_set_down(const LanVisit& visit, const PortSight& port, bool is_gateway,
                 Findings& findings) {
  if (port.link_up) return false;
  findings.push_back(
      warning(kId, kTitle,
              fmt::format("the link of {} is set down{}", port.name(),
                          is_gateway ? ": no guest gets a lease, a name or a way out" : ""),
              fmt::format("lanyard ctl {} link {} up", visit.now.directory, port.number)));
  findings.back().needed = is_gateway;
  findings.back().port = port.number;
  return true;
}

void judge(const LanVisit& visit, const PortSight& port, Findings& findings) {
  const PortSight* before = visit.before.port(port.number);
  for (const PlugSight& plug : port.plugs) {
    if (plug.ready) continue;
    findings.push_back(dead(
        warning(kId, kTitle,
                fmt::format("{} on port {}: the front end is connected, and the guest does not "
                            "use its network card",
                            plug.name, port.number),
                "wait while the guest boots; then see whether it has virtio-net and its link is "
                "up (ip link)"),
        port));
    return;
  }
  if (before != nullptr && stands_still(*before, port)) {
    findings.push_back(
        dead(problem(kId, kTitle,
                     fmt::format("{} takes nothing: {} {} for it, and none was taken "
                                 "between two looks",
                                 port.name(), netstack::counted(port.waiting_count(), "frame"),
                                 port.waiting_count() == 1 ? "waits" : "wait"),
                     "see whether its program is stopped or hangs, and whether the guest's link "
                     "is up"),
             port));
  } else if (port.ingress_count == 0 && port.delivered_count() > 0) {
    findings.push_back(
        dead(warning(kId, kTitle,
                     fmt::format("{} has never sent a frame, though {} went to it", port.name(),
                                 port.delivered_count()),
                     "see whether the guest's driver is up, if it is a guest and no listener"),
             port));
  }
}

std::string describe_order(size_t plug_count, bool gateway) {
  const std::string where = gateway ? " besides the gateway" : "";
  if (plug_count == 0) return "nobody is plugged in" + where;
  return fmt::format("{}{}, {}", netstack::counted(plug_count, "plug"), where,
                     plug_count == 1 ? "and it is alive" : "all alive");
}

}  // namespace

Findings check_plugs(const LanVisit& visit) {
  Findings findings;
  size_t plug_count = 0;
  for (const PortSight& port : visit.now.ports) {
    const bool is_gateway = visit.now.gateway && port.number == visit.now.gateway->port;
    if (port.plugs.empty()) continue;
    if (is_set_down(visit, port, is_gateway, findings) || is_gateway) continue;
    plug_count += port.plugs.size();
    judge(visit, port, findings);
  }
  if (!findings.empty()) return findings;
  return {{kId, kTitle, describe_order(plug_count, visit.now.gateway.has_value())}};
}

}  // namespace tools
