#include "tools/doctor/lan_checks.h"

#include <iterator>
#include <utility>

namespace tools {

Findings check_lan(const LanVisit& visit) {
  Findings all;
  const auto add = [&all](Findings findings) {
    all.insert(all.end(), std::make_move_iterator(findings.begin()),
               std::make_move_iterator(findings.end()));
  };
  for (const auto check :
       {check_leases, check_guest_routes, check_vlans, check_macs, check_ips, check_loops}) {
    add(check(visit.now));
  }
  add(check_plugs(visit));
  add(check_drops(visit));
  add(check_mtu(visit.now));
  add(check_forwards(visit.now));
  add(check_flows(visit.now));
  add(check_reasons(visit.now));
  add(check_captures(visit.now));
  add(check_lock(visit.now));
  return all;
}

}  // namespace tools
