#include "tools/doctor/lan_sight.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "netstack/base/error.h"

namespace tools {

using nlohmann::json;

namespace {

// Members, or what stands in for them when they are absent or of another type.
const json& member(const json& object, const char* name) {
  static const json kNothing;
  const auto at = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && at != object.end() ? *at : kNothing;
}

std::string text(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

double seconds(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_number() ? value.get<double>() : 0;
}

uint64_t count(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_number_unsigned() ? value.get<uint64_t>() : 0;
}

unsigned number(const json& object, const char* name) {
  return static_cast<unsigned>(count(object, name));
}

bool flag(const json& object, const char* name, bool otherwise) {
  const json& value = member(object, name);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

template <typename Item, typename Read>
std::vector<Item> list_of(const json& array, Read read) {
  std::vector<Item> items;
  if (!array.is_array()) return items;
  for (const json& one : array) items.push_back(read(one));
  return items;
}

PlugSight read_plug(const json& plug) {
  return {text(plug, "name"), text(plug, "description"), flag(plug, "ready", true),
          count(plug, "waiting_frames")};
}

PortSight read_port(const json& port) {
  const json& counters = member(port, "counters");
  PortSight sight{number(port, "number"),
                  text(port, "link") != "down",
                  list_of<PlugSight>(member(port, "plugs"), read_plug),
                  count(counters, "ingress_frames"),
                  count(counters, "egress_frames"),
                  {}};
  const json& drops = member(counters, "drops");
  if (!drops.is_object()) return sight;
  for (const auto& [reason, frames] : drops.items()) {
    if (frames.is_number_unsigned()) sight.drops[reason] = frames.get<uint64_t>();
  }
  return sight;
}

StationSight read_station(const json& station) {
  return {text(station, "mac"),       number(station, "vid"),  number(station, "port"),
          seconds(station, "age_s"),  count(station, "moves"), number(station, "moved_from"),
          seconds(station, "moved_s")};
}

LeaseSight read_lease(const json& lease) {
  return {text(lease, "mac"), text(lease, "address"), text(lease, "name"), text(lease, "state")};
}

SignSight read_sign(const json& guest, const char* name, const char* number_name = "") {
  const json& sign = member(guest, name);
  return {count(sign, "count"), seconds(sign, "ago_s"), text(sign, "address"),
          count(sign, number_name)};
}

GuestSight read_guest(const json& guest) {
  return {text(guest, "mac"),
          seconds(guest, "heard_s"),
          read_sign(guest, "dhcp"),
          read_sign(guest, "declined"),
          read_sign(guest, "off_subnet"),
          read_sign(guest, "tagged", "vid"),
          read_sign(guest, "tagged_for_gateway", "vid"),
          read_sign(guest, "foreign"),
          read_sign(guest, "oversized", "bytes")};
}

ClaimSight read_claim(const json& claim) {
  return {text(claim, "address"),       text(claim, "mac"),       seconds(claim, "heard_s"),
          flag(claim, "within", false), count(claim, "changes"),  seconds(claim, "changed_s"),
          text(claim, "rival"),         seconds(claim, "rival_s")};
}

// Times there are the wall clock's, which this process shares.
double seconds_since(double wall_s) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::max(0.0, std::chrono::duration<double>(now).count() - wall_s);
}

ReasonSight read_reason(const json& reason) {
  const json& target = member(reason, "target");
  return {text(reason, "guest"),   text(target, "protocol"),
          text(target, "address"), number(target, "port"),
          text(reason, "cause"),   text(reason, "fact"),
          text(reason, "cure"),    text(reason, "told"),
          count(reason, "count"),  seconds_since(seconds(reason, "last_time"))};
}

FlowSight read_flow(const json& flow) {
  constexpr unsigned kDnsPort = 53;
  const json& guest = member(flow, "guest");
  const std::string name = text(flow, "name");
  FlowSight sight{text(guest, "mac"),
                  text(flow, "protocol"),
                  name.empty() ? text(flow, "address") : name,
                  number(flow, "port"),
                  text(flow, "state"),
                  text(flow, "reason"),
                  text(flow, "direction") == "in",
                  false,
                  seconds_since(seconds(flow, "start"))};
  sight.question = sight.port == kDnsPort && number(guest, "port") == 0;
  return sight;
}

ForwardSight read_forward(const json& forward) {
  return {text(forward, "forward"), text(forward, "state"), text(forward, "answer"),
          text(forward, "explanation")};
}

CaptureSight read_capture(const json& capture) {
  return {count(capture, "id"), text(capture, "file"), count(capture, "lost"),
          text(capture, "trouble")};
}

std::optional<SandboxSight> read_sandbox(const json& sandbox) {
  if (!sandbox.is_object()) return std::nullopt;
  return SandboxSight{flag(sandbox, "locked", false), text(sandbox, "why_off"),
                      text(sandbox, "explanation"),
                      list_of<std::string>(member(sandbox, "gaps"), [](const json& gap) {
                        return gap.is_string() ? gap.get<std::string>() : std::string();
                      })};
}

class Asking {
 public:
  Asking(const std::string& directory, const AskLan& ask) : directory_(directory), ask_(ask) {}

  // Null unless it is answered with 200 and JSON.
  json get(const std::string& path) const {
    const LanAnswer answer = ask_(path);
    if (answer.status != 200) return nullptr;
    json value = json::parse(answer.body, nullptr, false);
    return value.is_discarded() ? json(nullptr) : value;
  }
  json need(const std::string& path, bool (json::*is_of_type)() const noexcept) const {
    json value = get(path);
    if ((value.*is_of_type)()) return value;
    throw netstack::Error(EX_PROTOCOL,
                          fmt::format("cannot examine {}: what answers there does not tell {}; "
                                      "give the directory of a LAN of `lanyard switch`",
                                      directory_, path));
  }

 private:
  const std::string& directory_;
  const AskLan& ask_;
};

void look_at_gateway(LanSight& lan, const Asking& asking) {
  if (lan.offers("GET /leases")) {
    const json leases = asking.get("/leases");
    if (leases.is_array()) lan.leases = list_of<LeaseSight>(leases, read_lease);
  }
  if (lan.offers("GET /guests")) {
    const json book = asking.get("/guests");
    const json& gateway = member(book, "gateway");
    if (gateway.is_object()) {
      lan.gateway = {number(gateway, "port"), text(gateway, "address"), text(gateway, "network"),
                     count(gateway, "mtu"), text(gateway, "mac")};
      lan.guests = list_of<GuestSight>(member(book, "guests"), read_guest);
      lan.claims = list_of<ClaimSight>(member(book, "claims"), read_claim);
    }
  }
  if (lan.offers("GET /forwards")) {
    const json forwards = asking.get("/forwards");
    if (forwards.is_array()) lan.forwards = list_of<ForwardSight>(forwards, read_forward);
  }
  if (lan.offers("GET /flows")) {
    const json flows = member(asking.get("/flows?limit=2048"), "flows");
    if (flows.is_array()) lan.flows = list_of<FlowSight>(flows, read_flow);
  }
  if (lan.offers("GET /reasons")) {
    const json reasons = asking.get("/reasons");
    if (reasons.is_array()) lan.reasons = list_of<ReasonSight>(reasons, read_reason);
  }
}

}  // namespace

uint64_t PortSight::waiting_count() const {
  uint64_t sum = 0;
  for (const PlugSight& plug : plugs) sum += plug.waiting_count;
  return sum;
}

uint64_t PortSight::delivered_count() const {
  return egress_count - std::min(egress_count, waiting_count());
}

std::string PortSight::name() const {
  std::string names;
  for (const PlugSight& plug : plugs) names += (names.empty() ? "" : ", ") + plug.name;
  return names.empty() ? fmt::format("port {}", number)
                       : fmt::format("port {} ({})", number, names);
}

bool LanSight::offers(const std::string& operation) const {
  return std::ranges::find(operations, operation) != operations.end();
}

const PortSight* LanSight::port(unsigned number) const {
  const auto at = std::ranges::find(ports, number, &PortSight::number);
  return at == ports.end() ? nullptr : &*at;
}

std::map<std::string, GuestPlace> LanSight::places() const {
  std::map<std::string, GuestPlace> all;
  for (const StationSight& station : stations) {
    if (gateway && station.port == gateway->port) continue;
    const auto [at, is_new] = all.try_emplace(station.mac);
    GuestPlace& place = at->second;
    if (is_new || station.silent_s <= place.silent_s) {
      place.port = station.port;
      place.silent_s = station.silent_s;
    }
    place.vids.push_back(station.vid);
  }
  return all;
}

std::optional<unsigned> LanSight::port_of(const std::string& mac) const {
  const StationSight* last = nullptr;
  for (const StationSight& station : stations) {
    if (station.mac != mac || (gateway && station.port == gateway->port)) continue;
    if (last == nullptr || station.silent_s <= last->silent_s) last = &station;
  }
  return last == nullptr ? std::nullopt : std::optional(last->port);
}

std::string LanSight::address_of(const std::string& mac) const {
  if (leases) {
    for (const LeaseSight& lease : *leases) {
      if (lease.mac == mac && lease.state == "bound") return lease.address;
    }
  }
  std::string other;
  for (const ClaimSight& claim : claims) {
    if (claim.mac != mac) continue;
    if (claim.within) return claim.address;
    other = claim.address;
  }
  return other;
}

std::string LanSight::name_of(const std::string& mac) const {
  if (!leases) return {};
  for (const LeaseSight& lease : *leases) {
    if (lease.mac == mac && lease.state == "bound") return lease.name;
  }
  return {};
}

std::string LanSight::guest_name(const std::string& mac) const {
  std::string name = mac;
  if (const std::string address = address_of(mac); !address.empty()) {
    name += fmt::format(" ({})", address);
  }
  if (const auto port = port_of(mac)) name += fmt::format(" on port {}", *port);
  return name;
}

std::vector<unsigned> LanSight::gateway_vids() const {
  std::vector<unsigned> vids;
  for (const StationSight& station : stations) {
    if (gateway && station.port == gateway->port) vids.push_back(station.vid);
  }
  if (vids.empty()) vids.push_back(0);
  return vids;
}

LanSight look_at_lan(const std::string& directory, const AskLan& ask) {
  const Asking asking(directory, ask);
  LanSight lan;
  lan.directory = directory;
  const json root = asking.need("/", &json::is_object);
  lan.program = text(root, "program");
  lan.sandbox = read_sandbox(member(root, "sandbox"));
  for (const json& one : member(root, "operations")) {
    if (one.is_string()) lan.operations.push_back(one.get<std::string>());
  }
  lan.ports = list_of<PortSight>(asking.need("/ports", &json::is_array), read_port);
  lan.stations = list_of<StationSight>(asking.need("/fdb", &json::is_array), read_station);
  look_at_gateway(lan, asking);
  if (lan.offers("GET /captures")) {
    const json captures = asking.get("/captures");
    if (captures.is_array()) lan.captures = list_of<CaptureSight>(captures, read_capture);
  }
  if (lan.offers("GET /loops")) {
    const json loops = asking.get("/loops");
    lan.loop = LoopSight{flag(loops, "engaged", false), count(loops, "episodes"),
                         list_of<unsigned>(member(loops, "ports"), [](const json& port) {
                           return port.is_number_unsigned() ? port.get<unsigned>() : 0U;
                         })};
  }
  return lan;
}

}  // namespace tools
