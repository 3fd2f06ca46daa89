#pragma once

#include <vector>

#include "tools/control/controlled_lan.h"
#include "tools/control/metrics_page.h"

namespace tools {

// Ports, stations, storms; the control socket itself; DHCP and DNS (nothing without a gateway).
void add_lan_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target);
void add_control_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target);
void add_name_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target);

}  // namespace tools
