#include "tools/control/lease_routes.h"

#include <map>
#include <optional>

#include "tools/control/json_pieces.h"

namespace tools {

namespace {

using netstack::Lease;
using netstack::LeaseEvent;
using netstack::Mac;
using nlohmann::json;

const char* state_of(const Lease& lease, uint64_t now_ns) {
  if (lease.live(now_ns)) return "bound";
  return lease.until_ns > now_ns ? "offered" : "ended";
}

// A guest that was heard in several VLANs is where it was heard last.
std::map<Mac, vlan::Station> stations_of(Lan& lan, const netstack::LeaseTable& leases) {
  std::map<Mac, vlan::Station> stations;
  const uint64_t now_ns = lan.loop().clock().monotonic_ns();
  lan.fabric().fdb().for_each(now_ns, [&](const vlan::Station& station) {
    if (leases.find(station.mac) != nullptr) stations[station.mac] = station;
  });
  return stations;
}

json describe_lease(const Lease& lease, const vlan::Station* station, uint64_t now_ns) {
  const double left_s =
      lease.until_ns > now_ns ? static_cast<double>(lease.until_ns - now_ns) / 1e9 : 0;
  json line = {{"mac", to_string(lease.mac)},
               {"address", to_string(lease.address)},
               {"name", lease.name},
               {"state", state_of(lease, now_ns)},
               {"left_s", left_s},
               {"port", nullptr},
               {"vid", nullptr},
               {"silent_s", nullptr}};
  if (station != nullptr) {
    line["port"] = station->port;
    line["vid"] = station->vid;
    line["silent_s"] = static_cast<double>(station->age_ns) / 1e9;
  }
  return line;
}

ControlReply show_leases(const ControlledLan& target, const ControlRequest& request) {
  const netstack::LeaseTable& leases = gateway_of(target, request).names().leases();
  const uint64_t now_ns = target.lan.loop().clock().monotonic_ns();
  std::vector<Lease> all;
  all.reserve(leases.count());
  leases.for_each([&](const Lease& lease) { all.push_back(lease); });
  return reply_with_list(
      std::move(all), [stations = stations_of(target.lan, leases), now_ns](const Lease& lease) {
        const auto at = stations.find(lease.mac);
        return describe_lease(lease, at == stations.end() ? nullptr : &at->second, now_ns);
      });
}

const char* event_name(LeaseEvent::Kind kind) {
  switch (kind) {
    case LeaseEvent::Kind::kGiven:
      return "lease-given";
    case LeaseEvent::Kind::kRenewed:
      return "lease-renewed";
    case LeaseEvent::Kind::kReleased:
      return "lease-released";
    case LeaseEvent::Kind::kDeclined:
      return "lease-declined";
    case LeaseEvent::Kind::kRefused:
      return "lease-refused";
    case LeaseEvent::Kind::kExhausted:
      return "leases-exhausted";
  }
  return "";
}

}  // namespace

void add_lease_routes(Router& router, ControlledLan& target) {
  router.add("GET", "/leases",
             [&](const ControlRequest& request) { return show_leases(target, request); });
}

void publish_lease_events(ControlledLan& target, EventStream& events) {
  if (target.gateway == nullptr) return;
  Lan& lan = target.lan;
  target.gateway->names().watch_leases([&lan, &events](const LeaseEvent& event) {
    json line = {{"event", event_name(event.kind)}, {"mac", to_string(event.mac)}};
    if (event.kind != LeaseEvent::Kind::kExhausted) {
      line["address"] = to_string(event.address);
      line["name"] = event.name;
    }
    const uint64_t now_ns = lan.loop().clock().monotonic_ns();
    if (const auto port = lan.fabric().fdb().lookup(event.mac, 0, now_ns)) line["port"] = *port;
    events.publish(std::move(line));
  });
}

}  // namespace tools
