// Counters of one name stand together, so the ports are walked once per name.
#include "tools/control/lan_metrics.h"

#include <array>

namespace tools {

namespace {

using netstack::DropReason;
using netstack::PortCounters;

template <typename Counters>
struct CounterRow {
  const char* name;
  const char* help;
  uint64_t Counters::*value;
};

constexpr std::array kPortCounters{
    CounterRow<PortCounters>{"lanyard_port_ingress_frames_total",
                             "Frames that came into the switch", &PortCounters::ingress_frames},
    CounterRow<PortCounters>{"lanyard_port_ingress_bytes_total",
                             "Bytes of frames that came into the switch",
                             &PortCounters::ingress_bytes},
    CounterRow<PortCounters>{"lanyard_port_egress_frames_total", "Frames that a plug took",
                             &PortCounters::egress_frames},
    CounterRow<PortCounters>{"lanyard_port_egress_bytes_total", "Bytes of frames that a plug took",
                             &PortCounters::egress_bytes},
};

constexpr std::array kControlCounters{
    CounterRow<ControlCounters>{"lanyard_control_connections_total",
                                "Clients that connected to the control socket",
                                &ControlCounters::connections},
    CounterRow<ControlCounters>{"lanyard_control_requests_total", "Requests answered",
                                &ControlCounters::requests},
    CounterRow<ControlCounters>{"lanyard_control_refused_total",
                                "Requests answered with a status of 400 or more",
                                &ControlCounters::refused},
    CounterRow<ControlCounters>{"lanyard_control_gave_way_total",
                                "Clients cut because more came than there is room for",
                                &ControlCounters::gave_way},
    CounterRow<ControlCounters>{"lanyard_control_slow_cut_total",
                                "Clients cut because a request and its answer took too long",
                                &ControlCounters::slow_cut},
    CounterRow<ControlCounters>{"lanyard_control_readers_cut_total",
                                "Readers of events cut because they stopped reading",
                                &ControlCounters::readers_cut},
    CounterRow<ControlCounters>{"lanyard_control_readers_refused_total",
                                "Readers of events refused because there were too many",
                                &ControlCounters::readers_refused},
    CounterRow<ControlCounters>{"lanyard_control_turns_total",
                                "Turns of the loop in which the control socket was served",
                                &ControlCounters::turns},
};

using netstack::DhcpCounters;
constexpr std::array kDhcpCounters{
    CounterRow<DhcpCounters>{"offer", "", &DhcpCounters::offers},
    CounterRow<DhcpCounters>{"ack", "", &DhcpCounters::acks},
    CounterRow<DhcpCounters>{"nak", "", &DhcpCounters::naks},
    CounterRow<DhcpCounters>{"release", "", &DhcpCounters::releases},
    CounterRow<DhcpCounters>{"decline", "", &DhcpCounters::declines},
    CounterRow<DhcpCounters>{"inform", "", &DhcpCounters::informs},
    CounterRow<DhcpCounters>{"malformed", "", &DhcpCounters::malformed},
    CounterRow<DhcpCounters>{"ignored", "", &DhcpCounters::ignored},
    CounterRow<DhcpCounters>{"exhausted", "", &DhcpCounters::exhausted},
    CounterRow<DhcpCounters>{"over-limit", "", &DhcpCounters::over_limit},
    CounterRow<DhcpCounters>{"conflict", "", &DhcpCounters::conflicts},
};

using netstack::DnsCounters;
constexpr std::array kDnsCounters{
    CounterRow<DnsCounters>{"lanyard_dns_queries_total", "Questions of guests",
                            &DnsCounters::queries},
    CounterRow<DnsCounters>{"lanyard_dns_local_total", "Answered from what the gateway knows",
                            &DnsCounters::local},
    CounterRow<DnsCounters>{"lanyard_dns_forwarded_total", "Passed on to nameservers",
                            &DnsCounters::forwarded},
    CounterRow<DnsCounters>{"lanyard_dns_answered_total", "Answered by a nameserver",
                            &DnsCounters::answered},
    CounterRow<DnsCounters>{"lanyard_dns_failed_total", "No nameserver answered",
                            &DnsCounters::failed},
    CounterRow<DnsCounters>{"lanyard_dns_evicted_total", "Given up because too many were under way",
                            &DnsCounters::evicted},
    CounterRow<DnsCounters>{"lanyard_dns_refused_total",
                            "Malformed, of an unknown opcode, or a zone transfer",
                            &DnsCounters::refused},
};

void write_drops(MetricsPage& page, const ControlledLan& target) {
  page.head("lanyard_port_dropped_frames_total", "Frames dropped, by reason", "counter");
  for (const auto& [number, port] : target.lan.ports().ports()) {
    const PortCounters counters = port->shared.lifetime();
    for (size_t at = 0; at < netstack::kDropReasonCount; ++at) {
      const auto reason = static_cast<DropReason>(at);
      if (const uint64_t frames = counters.dropped(reason)) {
        page.sample("lanyard_port_dropped_frames_total{{port=\"{}\",reason=\"{}\"}} {}", number,
                    netstack::drop_reason_name(reason), frames);
      }
    }
  }
}

}  // namespace

void add_lan_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target) {
  Lan& lan = target.lan;
  for (const auto& row : kPortCounters) {
    all.emplace_back([&lan, &row](MetricsPage& page) {
      page.head(row.name, row.help, "counter");
      for (const auto& [number, port] : lan.ports().ports()) {
        page.sample("{}{{port=\"{}\"}} {}", row.name, number, port->shared.lifetime().*row.value);
      }
    });
  }
  all.emplace_back([&target](MetricsPage& page) { write_drops(page, target); });
  all.emplace_back([&lan](MetricsPage& page) {
    page.head("lanyard_port_plugs", "Plugs at the port now", "gauge");
    for (const auto& [number, port] : lan.ports().ports()) {
      page.sample("lanyard_port_plugs{{port=\"{}\"}} {}", number, port->endpoints.size());
    }
  });
  all.emplace_back([&lan](MetricsPage& page) {
    page.head("lanyard_port_link_up", "1 unless the port's link was set down", "gauge");
    for (const auto& [number, port] : lan.ports().ports()) {
      page.sample("lanyard_port_link_up{{port=\"{}\"}} {}", number, port->shared.link_up() ? 1 : 0);
    }
  });
  all.emplace_back([&lan](MetricsPage& page) {
    page.single("lanyard_stations", "Addresses in the forwarding table", "gauge",
                lan.fabric().fdb().station_count());
    page.single("lanyard_storms_total", "Loops that the storm guard has found", "counter",
                lan.fabric().storm_guard().episode_count());
  });
}

void add_control_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target) {
  all.emplace_back([&target](MetricsPage& page) {
    const ControlCounters& counters = target.counters;
    for (const auto& row : kControlCounters) {
      page.single(row.name, row.help, "counter", counters.*row.value);
    }
    page.single("lanyard_control_busy_seconds_total", "Time spent on the control socket", "counter",
                static_cast<double>(counters.busy_ns) / 1e9);
    page.single("lanyard_control_busy_seconds_max",
                "The longest that the control socket has held up a frame", "gauge",
                static_cast<double>(counters.busy_ns_max) / 1e9);
    page.single("lanyard_captures", "Captures that run", "gauge", target.captures.size());
    if (target.events == nullptr) return;
    page.single("lanyard_events_total", "Events published", "counter",
                target.events->next_number() - 1);
    page.single("lanyard_events_suppressed_total",
                "Events left out because too many of their kind came", "counter",
                target.events->suppressed_count());
  });
}

void add_name_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target) {
  if (target.gateway == nullptr) return;
  all.emplace_back([&target](MetricsPage& page) {
    const netstack::NameService& names = target.gateway->names();
    page.head("lanyard_dhcp_messages_total", "DHCP, by what became of it", "counter");
    for (const auto& row : kDhcpCounters) {
      page.sample("lanyard_dhcp_messages_total{{kind=\"{}\"}} {}", row.name,
                  names.dhcp_counters().*row.value);
    }
    for (const auto& row : kDnsCounters) {
      page.single(row.name, row.help, "counter", names.dns_counters().*row.value);
    }
    page.single("lanyard_dns_forged_total", "Answers that nobody had asked for", "counter",
                names.forged_count());
    page.single("lanyard_leases", "Leases that run", "gauge",
                names.leases().live_count(target.lan.loop().clock().monotonic_ns()));
  });
}

}  // namespace tools
