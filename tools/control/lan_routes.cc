#include "tools/control/lan_routes.h"

#include <fmt/format.h>

#include <charconv>

#include "netstack/base/error.h"
#include "netstack/capture/capture.h"
#include "tools/control/api_description.h"

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

json describe_ports(ControlledLan& target) {
  json ports = json::array();
  for (const auto& [number, port] : target.lan.ports().ports()) {
    ports.push_back(describe_port(*port));
  }
  return ports;
}

json describe_stations(ControlledLan& target) {
  json stations = json::array();
  const uint64_t now_ns = target.lan.loop().clock().monotonic_ns();
  target.lan.fabric().fdb().for_each(now_ns, [&](const vlan::Station& station) {
    const bool moved = station.move_count > 0;
    stations.push_back({{"mac", to_string(station.mac)},
                        {"vid", station.vid},
                        {"port", station.port},
                        {"age_s", static_cast<double>(station.age_ns) / 1e9},
                        {"moves", station.move_count},
                        {"moved_from", moved ? json(station.moved_from) : json(nullptr)},
                        {"moved_s", moved ? json(static_cast<double>(station.moved_ago_ns) / 1e9)
                                          : json(nullptr)}});
  });
  return stations;
}

NumberedPort& named_port(ControlledLan& target, const ControlRequest& request) {
  const std::string& text = request.parameters.find("number")->second;
  PortId number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  NumberedPort* port = nullptr;
  if (read.ec == std::errc() && read.ptr == text.data() + text.size()) {
    port = target.lan.ports().find(number);
  }
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
  port.shared.set_link(up);
  if (!up) target.lan.fabric().fdb().forget_port(port.number);
  return {.json = describe_port(port)};
}

ControlReply show_captures(const ControlledLan& target) {
  json captures = json::array();
  if (!target.capture_path.empty()) captures.push_back({{"file", target.capture_path}});
  return {.json = captures};
}

ControlReply start_capture(ControlledLan& target, const ControlRequest& request) {
  const std::string path = text_member(request, "file");
  if (!target.capture_path.empty()) {
    throw ControlRefusal(409, fmt::format("cannot capture to {}: a capture to {} runs; stop it "
                                          "first (DELETE /captures)",
                                          path, target.capture_path));
  }
  if (!path.starts_with('/')) {
    throw ControlRefusal(400, fmt::format("cannot capture to \"{}\": the switch has a working "
                                          "directory of its own; give an absolute path",
                                          path));
  }
  if (target.lets_capture_to && !target.lets_capture_to(path)) {
    throw ControlRefusal(
        403,
        fmt::format("cannot capture to {}: the switch has locked itself out of that directory; "
                    "capture to a file in {}, or start the switch with --capture-dir",
                    path, target.lan.directory()));
  }
  target.lan.mirror_to(
      std::make_unique<netstack::Capture>(path, target.lan.loop().clock(), target.log));
  target.capture_path = path;
  return {.status = 201, .json = {{"file", path}}};
}

ControlReply stop_capture(ControlledLan& target) {
  target.lan.mirror_to(nullptr);
  target.capture_path.clear();
  return {.json = json::array()};
}

}  // namespace

void add_lan_routes(Router& router, ControlledLan& target) {
  using Request = const ControlRequest&;
  router.add("GET", "/", [&router](Request) -> ControlReply {
    json operations = json::array({"GET /events"});
    for (const Router::Route& route : router.routes()) {
      operations.push_back(route.method + " " + route.pattern);
    }
    return {.json = {{"program", "lanyard " LANYARD_VERSION}, {"operations", operations}}};
  });
  router.add("GET", "/openapi.json",
             [](Request) -> ControlReply { return {.json = api_description()}; });
  router.add("GET", "/ports",
             [&](Request) -> ControlReply { return {.json = describe_ports(target)}; });
  router.add("GET", "/ports/{number}", [&](Request request) -> ControlReply {
    return {.json = describe_port(named_port(target, request))};
  });
  router.add("PUT", "/ports/{number}/link",
             [&](Request request) { return set_link(target, request); });
  router.add("GET", "/fdb",
             [&](Request) -> ControlReply { return {.json = describe_stations(target)}; });
  router.add("DELETE", "/fdb", [&](Request) -> ControlReply {
    target.lan.fabric().fdb().flush();
    return {.json = json::array()};
  });
  router.add("GET", "/captures", [&](Request) { return show_captures(target); });
  router.add("POST", "/captures", [&](Request request) { return start_capture(target, request); });
  router.add("DELETE", "/captures", [&](Request) { return stop_capture(target); });
  router.add("GET", "/metrics",
             [&](Request) -> ControlReply { return {.text = lan_metrics(target)}; });
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
