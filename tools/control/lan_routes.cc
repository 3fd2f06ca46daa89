#include "tools/control/lan_routes.h"

#include <fmt/format.h>

#include "netstack/base/error.h"
#include "netstack/base/number.h"
#include "tools/control/api_description.h"
#include "tools/control/json_pieces.h"

namespace tools {

namespace {

using netstack::DropReason;
using netstack::PortCounters;
using netstack::PortId;
using nlohmann::json;

json describe_counters(const PortCounters& counters) {
  json drops = json::object();
  for (size_t at = 0; at < netstack::kDropReasonCount; ++at) {
    const auto reason = static_cast<DropReason>(at);
    if (const uint64_t frames = counters.dropped(reason)) {
      drops[std::string(netstack::drop_reason_name(reason))] = frames;
    }
  }
  return {{"ingress_frames", counters.ingress_frames},
          {"ingress_bytes", counters.ingress_bytes},
          {"egress_frames", counters.egress_frames},
          {"egress_bytes", counters.egress_bytes},
          {"drops", drops}};
}

json describe_port(const NumberedPort& port) {
  json plugs = json::array();
  for (const Endpoint& endpoint : port.endpoints) {
    const netstack::PeerState state = endpoint.port->peer_state();
    plugs.push_back({{"name", endpoint.port->name()},
                     {"module", endpoint.module},
                     {"description", endpoint.description},
                     {"ready", state.ready},
                     {"waiting_frames", state.waiting_count}});
  }
  return {{"number", port.number},
          {"link", port.shared.link_up() ? "up" : "down"},
          {"plugs", plugs},
          {"counters", describe_counters(port.shared.totals())}};
}

ControlReply show_ports(ControlledLan& target) {
  std::vector<PortId> numbers;
  for (const auto& [number, port] : target.lan.ports().ports()) numbers.push_back(number);
  return reply_with_list(std::move(numbers), [&target](PortId number) -> json {
    const NumberedPort* port = target.lan.ports().find(number);
    return port != nullptr ? describe_port(*port) : json();
  });
}

ControlReply show_stations(ControlledLan& target) {
  std::vector<vlan::Station> stations;
  const uint64_t now_ns = target.lan.loop().clock().monotonic_ns();
  stations.reserve(target.lan.fabric().fdb().station_count());
  target.lan.fabric().fdb().for_each(
      now_ns, [&](const vlan::Station& station) { stations.push_back(station); });
  return reply_with_list(std::move(stations), [](const vlan::Station& station) -> json {
    const bool moved = station.move_count > 0;
    return {
        {"mac", to_string(station.mac)},
        {"vid", station.vid},
        {"port", station.port},
        {"age_s", static_cast<double>(station.age_ns) / 1e9},
        {"moves", station.move_count},
        {"moved_from", moved ? json(station.moved_from) : json(nullptr)},
        {"moved_s", moved ? json(static_cast<double>(station.moved_ago_ns) / 1e9) : json(nullptr)}};
  });
}

json describe_sandbox(const Sandbox& sandbox) {
  return {{"locked", sandbox.why_off.empty()},
          {"why_off", sandbox.why_off.empty() ? json(nullptr) : json(sandbox.why_off)},
          {"no_new_privileges", sandbox.no_new_privileges},
          {"seccomp", sandbox.system_calls_are_locked},
          {"landlock_abi", sandbox.files_are_locked() ? json(sandbox.landlock_abi) : json(nullptr)},
          {"writable", sandbox.writable},
          {"gaps", sandbox.gaps},
          {"explanation", sandbox.sentence()}};
}

NumberedPort& named_port(ControlledLan& target, const ControlRequest& request) {
  const std::string& text = request.parameters.find("number")->second;
  const auto number = netstack::parse_number<PortId>(text);
  NumberedPort* port = number ? target.lan.ports().find(*number) : nullptr;
  if (port == nullptr) {
    throw ControlRefusal(
        404, fmt::format("cannot {} {}: there is no port {}; GET /ports lists them", request.method,
                         request.path, text));
  }
  return *port;
}

// A station behind a link that was cut may come back elsewhere, so it is forgotten.
ControlReply set_link(ControlledLan& target, const ControlRequest& request) {
  NumberedPort& port = named_port(target, request);
  const bool up = flag_member(request, "up");
  const bool changed = up != port.shared.link_up();
  port.shared.set_link(up);
  if (!up) target.lan.fabric().fdb().forget_port(port.number);
  if (changed) target.publish({{"event", up ? "link-up" : "link-down"}, {"port", port.number}});
  return {.json = describe_port(port)};
}

}  // namespace

void add_lan_routes(Router& router, ControlledLan& target) {
  using Request = const ControlRequest&;
  router.add("GET", "/", [&](Request) -> ControlReply {
    json operations = json::array({"GET /events"});
    for (const Router::Route& route : router.routes()) {
      operations.push_back(route.method + " " + route.pattern);
    }
    return {.json = {{"program", "lanyard " LANYARD_VERSION},
                     {"sandbox", describe_sandbox(target.sandbox)},
                     {"operations", operations}}};
  });
  router.add("GET", "/openapi.json",
             [](Request) -> ControlReply { return {.json = api_description()}; });
  router.add("GET", "/ports", [&](Request) { return show_ports(target); });
  router.add("GET", "/ports/{number}", [&](Request request) -> ControlReply {
    return {.json = describe_port(named_port(target, request))};
  });
  router.add("PUT", "/ports/{number}/link",
             [&](Request request) { return set_link(target, request); });
  router.add("GET", "/fdb", [&](Request) { return show_stations(target); });
  router.add("DELETE", "/fdb", [&](Request) -> ControlReply {
    target.lan.fabric().fdb().flush();
    return {.json = json::array()};
  });
}

void publish_lan_events(ControlledLan& target, EventStream& events) {
  target.lan.ports().watch([&events](const PortEvent& event) {
    const auto say = [&](const char* name) {
      events.publish({{"event", name}, {"port", event.number}});
    };
    switch (event.kind) {
      case PortEvent::Kind::kActive:
        return say("port-used");
      case PortEvent::Kind::kIdle:
        return say("port-free");
      case PortEvent::Kind::kEndpointCame:
        return say("plug-came");
      case PortEvent::Kind::kEndpointLeft:
        return say("plug-left");
      case PortEvent::Kind::kDescribed:
        return events.publish({{"event", "plug-described"},
                               {"port", event.number},
                               {"description", std::string(event.description)}});
    }
  });
}

}  // namespace tools
