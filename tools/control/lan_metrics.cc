// Prometheus's text format: a HELP and a TYPE line for each name, then its samples. Counters of one
// name stand together, so the ports are walked once per name.
#include <fmt/format.h>

#include <array>
#include <iterator>

#include "tools/control/flow_routes.h"
#include "tools/control/lan_routes.h"

namespace tools {

namespace {

using netstack::DropReason;
using netstack::PortCounters;

struct CounterRow {
  const char* name;
  const char* help;
  uint64_t PortCounters::*value;
};

constexpr std::array kCounters{
    CounterRow{"lanyard_port_ingress_frames_total", "Frames that came into the switch",
               &PortCounters::ingress_frames},
    CounterRow{"lanyard_port_ingress_bytes_total", "Bytes of frames that came into the switch",
               &PortCounters::ingress_bytes},
    CounterRow{"lanyard_port_egress_frames_total", "Frames that a plug took",
               &PortCounters::egress_frames},
    CounterRow{"lanyard_port_egress_bytes_total", "Bytes of frames that a plug took",
               &PortCounters::egress_bytes},
};

class Page {
 public:
  void head(const char* name, const char* help, const char* type) {
    fmt::format_to(out(), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  }
  template <typename... Labels>
  void sample(fmt::format_string<Labels...> format, Labels&&... labels) {
    fmt::format_to(out(), format, std::forward<Labels>(labels)...);
    text_ += '\n';
  }
  std::string take() { return std::move(text_); }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }

  std::string text_;
};

}  // namespace

std::string lan_metrics(const ControlledLan& target) {
  const auto& ports = target.lan.ports().ports();
  Page page;
  for (const CounterRow& row : kCounters) {
    page.head(row.name, row.help, "counter");
    for (const auto& [number, port] : ports) {
      page.sample("{}{{port=\"{}\"}} {}", row.name, number, port->shared.lifetime().*row.value);
    }
  }
  page.head("lanyard_port_dropped_frames_total", "Frames dropped, by reason", "counter");
  for (const auto& [number, port] : ports) {
    const PortCounters counters = port->shared.lifetime();
    for (size_t at = 0; at < netstack::kDropReasonCount; ++at) {
      const auto reason = static_cast<DropReason>(at);
      if (const uint64_t frames = counters.dropped(reason)) {
        page.sample("lanyard_port_dropped_frames_total{{port=\"{}\",reason=\"{}\"}} {}", number,
                    netstack::drop_reason_name(reason), frames);
      }
    }
  }
  page.head("lanyard_port_plugs", "Plugs at the port now", "gauge");
  for (const auto& [number, port] : ports) {
    page.sample("lanyard_port_plugs{{port=\"{}\"}} {}", number, port->endpoints.size());
  }
  page.head("lanyard_port_link_up", "1 unless the port's link was set down", "gauge");
  for (const auto& [number, port] : ports) {
    page.sample("lanyard_port_link_up{{port=\"{}\"}} {}", number, port->shared.link_up() ? 1 : 0);
  }
  page.head("lanyard_stations", "Addresses in the forwarding table", "gauge");
  page.sample("lanyard_stations {}", target.lan.fabric().fdb().station_count());
  page.head("lanyard_storms_total", "Loops that the storm guard has found", "counter");
  page.sample("lanyard_storms_total {}", target.lan.fabric().storm_guard().episode_count());
  if (target.gateway == nullptr) return page.take();
  page.head("lanyard_unreachable_total", "Times a guest was told of a cause", "counter");
  for (size_t at = 0; at < netstack::kCauseCount; ++at) {
    const auto cause = static_cast<netstack::Cause>(at);
    if (const uint64_t times = target.gateway->reasons().count(cause)) {
      page.sample("lanyard_unreachable_total{{cause=\"{}\"}} {}", netstack::cause_row(cause).id,
                  times);
    }
  }
  return page.take() + flow_metrics(*target.gateway);
}

}  // namespace tools
