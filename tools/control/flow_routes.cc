#include "tools/control/flow_routes.h"

#include <fmt/format.h>

#include <algorithm>

#include "netstack/base/number.h"
#include "netstack/flows/egress_reader.h"
#include "netstack/frame/parse_mac.h"
#include "tools/control/egress_report.h"
#include "tools/control/json_pieces.h"

namespace tools {

namespace {

using netstack::Flow;
using netstack::FlowState;
using nlohmann::json;

json describe_flow(const Flow& flow, uint64_t now_ns) {
  const bool echo = flow.key.protocol == netstack::Protocol::kIcmpEcho;
  const uint64_t until_ns = flow.live() ? now_ns : flow.last_ns;
  const double lasted_s = static_cast<double>(until_ns - flow.opened_ns) / 1e9;
  json out = {{"number", flow.number},
              {"guest",
               {{"mac", to_string(flow.guest_mac)},
                {"address", to_string(flow.key.guest)},
                {"port", flow.key.guest_port}}},
              {"protocol", protocol_word(flow.key.protocol)},
              {"direction", flow.inward ? "in" : "out"},
              {"address", to_string(flow.key.peer)},
              {"port", echo ? json(nullptr) : json(flow.key.peer_port)},
              {"name", flow.name},
              {"state", netstack::flow_state_name(flow.outcome())},
              {"live", flow.live()},
              {"reason", nullptr},
              {"rule", flow.rule},
              {"packets_out", flow.out.packets},
              {"bytes_out", flow.out.bytes},
              {"packets_in", flow.in.packets},
              {"bytes_in", flow.in.bytes},
              {"start", static_cast<double>(flow.opened_wall_ns / 1000) / 1e6},
              {"duration_s", lasted_s}};
  if (flow.cause) out["reason"] = netstack::cause_row(*flow.cause).id;
  return out;
}

size_t limit_of(const ControlRequest& request) {
  const auto given = request.query.find("limit");
  if (given == request.query.end()) return kFlowsShown_count;
  const std::string& text = given->second;
  const auto limit = netstack::parse_number<size_t>(text);
  if (!limit || *limit > kFlowsShown_count_max) {
    throw ControlRefusal(400, fmt::format("cannot GET /flows: limit={} is not a number up to {}",
                                          text, kFlowsShown_count_max));
  }
  return *limit;
}

// Whose flows are asked for: everybody's, or one guest's by its MAC or IP address.
std::function<bool(const Flow&)> wanted_by(const ControlRequest& request) {
  const auto guest = request.query.find("guest");
  if (guest == request.query.end()) return [](const Flow&) { return true; };
  if (const auto address = netstack::IpAddress::parse(guest->second)) {
    return [wanted = *address](const Flow& flow) { return flow.key.guest == wanted; };
  }
  if (const auto mac = netstack::parse_mac(guest->second)) {
    return [wanted = *mac](const Flow& flow) { return flow.guest_mac == wanted; };
  }
  throw ControlRefusal(400, fmt::format("cannot GET /flows: guest={} is no MAC or IP address; GET "
                                        "/leases lists the guests'",
                                        guest->second));
}

ControlReply show_flows(const ControlledLan& target, const ControlRequest& request) {
  const netstack::FlowAccount& account = gateway_of(target, request).flows();
  const uint64_t now_ns = target.lan.loop().clock().monotonic_ns();
  JsonItems flows = items_of(
      account.recent(limit_of(request), wanted_by(request)),
      [&account, now_ns](const netstack::FlowAccount::Ref& ref) -> json {
        const Flow* flow = account.find(ref);
        return flow != nullptr ? describe_flow(*flow, std::max(now_ns, flow->opened_ns)) : json();
      });
  return reply_with_object({{.name = "live", .value = account.live_count()},
                            {.name = "limit", .value = account.flows_max()},
                            {.name = "opened", .value = account.counters().opened},
                            {.name = "flows", .items = std::move(flows)}});
}

ControlReply show_egress(const ControlledLan& target, const ControlRequest& request) {
  const netstack::FlowAccount& account = gateway_of(target, request).flows();
  auto reader = std::make_shared<netstack::EgressReader>(account);
  JsonItems places = [reader]() -> json {
    const auto entry = reader->next();
    if (entry) return egress_place(entry->first, entry->second);
    return reader->ended() ? kNoMoreItems : json();
  };
  return reply_with_object({{.name = "places", .items = std::move(places)},
                            {.name = "unlisted", .value = account.ended_flows().unlisted_count()}});
}

const char* event_name(const Flow& flow) {
  if (flow.question) return "question-denied";
  return flow.state == FlowState::kDenied ? "flow-denied" : "flow-ended";
}

}  // namespace

void add_flow_routes(Router& router, ControlledLan& target) {
  using Request = const ControlRequest&;
  router.add("GET", "/flows", [&](Request request) { return show_flows(target, request); });
  router.add("GET", "/egress", [&](Request request) { return show_egress(target, request); });
}

void publish_flow_events(ControlledLan& target, EventStream& events) {
  if (target.gateway == nullptr) return;
  netstack::Clock& clock = target.lan.loop().clock();
  target.gateway->flows().watch([&clock, &events](const Flow& flow) {
    json line = describe_flow(flow, clock.monotonic_ns());
    line["event"] = event_name(flow);
    line["flow"] = line["number"];  // "number" is the event's own
    events.publish(std::move(line));
  });
}

void add_flow_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target) {
  if (target.gateway == nullptr) return;
  all.emplace_back([&target](MetricsPage& page) {
    const netstack::FlowAccount& account = target.gateway->flows();
    const auto& counters = account.counters();
    page.single("lanyard_flows", "Flows through the gateway that are live now", "gauge",
                account.live_count());
    page.single("lanyard_flows_opened_total", "Flows through the gateway", "counter",
                counters.opened);
    page.head("lanyard_flows_ended_total",
              "Flows that have ended or were not let through, by outcome", "counter");
    for (size_t at = 0; at < counters.ended.size(); ++at) {
      const auto state = static_cast<FlowState>(at);
      if (state == FlowState::kOpening || state == FlowState::kEstablished) continue;
      page.sample("lanyard_flows_ended_total{{outcome=\"{}\"}} {}",
                  netstack::flow_state_name(state), counters.ended[at]);
    }
    page.single("lanyard_flows_over_limit_total", "Flows refused because a guest had its share",
                "counter", counters.over_limit);
    page.single("lanyard_questions_denied_total", "DNS questions that the policy refused",
                "counter", counters.questions_denied);
    page.head("lanyard_flow_bytes_total", "Bytes of IP packets of flows", "counter");
    page.sample("lanyard_flow_bytes_total{{direction=\"out\"}} {}", counters.bytes_out);
    page.sample("lanyard_flow_bytes_total{{direction=\"in\"}} {}", counters.bytes_in);
  });
}

}  // namespace tools
