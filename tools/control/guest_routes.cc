#include "tools/control/guest_routes.h"

#include "tools/control/json_pieces.h"

namespace tools {

namespace {

using netstack::GuestBook;
using netstack::IpAddress;
using nlohmann::json;

double seconds_since(uint64_t then_ns, uint64_t now_ns) {
  return static_cast<double>(now_ns - then_ns) / 1e9;
}

// Null: it was never seen.
json describe_sign(const GuestBook::Sign& sign, uint64_t now_ns) {
  if (sign.count == 0) return nullptr;
  return {{"count", sign.count}, {"ago_s", seconds_since(sign.last_ns, now_ns)}};
}

template <typename Value>
json describe_sign(const GuestBook::Sign& sign, uint64_t now_ns, const char* name,
                   const Value& value) {
  json line = describe_sign(sign, now_ns);
  if (!line.is_null()) line[name] = value;
  return line;
}

json describe_guest(const GuestBook::Guest& guest, uint64_t now_ns) {
  return {{"mac", to_string(guest.mac)},
          {"heard_s", seconds_since(guest.heard.last_ns, now_ns)},
          {"dhcp", describe_sign(guest.dhcp, now_ns)},
          {"declined",
           describe_sign(guest.declined, now_ns, "address", to_string(guest.declined_address))},
          {"off_subnet",
           describe_sign(guest.off_subnet, now_ns, "address", to_string(guest.off_subnet_address))},
          {"tagged", describe_sign(guest.tagged, now_ns, "vid", guest.tagged_vid)},
          {"tagged_for_gateway",
           describe_sign(guest.tagged_for_us, now_ns, "vid", guest.tagged_for_us_vid)},
          {"foreign",
           describe_sign(guest.foreign, now_ns, "address", to_string(guest.foreign_address))},
          {"oversized", describe_sign(guest.oversized, now_ns, "bytes", guest.oversized_bytes)}};
}

json describe_claim(const GuestBook::Claim& claim, const netstack::GatewayNetwork& network,
                    uint64_t now_ns) {
  const bool changed = claim.change_count > 0;
  return {{"address", to_string(claim.address)},
          {"mac", to_string(claim.mac)},
          {"heard_s", seconds_since(claim.heard_ns, now_ns)},
          {"within", network.contains(claim.address)},
          {"changes", claim.change_count},
          {"changed_s", changed ? json(seconds_since(claim.changed_ns, now_ns)) : json(nullptr)},
          {"rival", changed ? json(to_string(claim.rival)) : json(nullptr)},
          {"rival_s", changed ? json(seconds_since(claim.rival_ns, now_ns)) : json(nullptr)}};
}

std::string cidr(const netstack::GatewayNetwork& network) {
  return to_string(network.network) + "/" + std::to_string(network.prefix_bits);
}

ControlReply show_guests(const ControlledLan& target, const ControlRequest& request) {
  const netstack::Gateway& gateway = gateway_of(target, request);
  const GuestBook& book = gateway.guests();
  const uint64_t now_ns = target.lan.loop().clock().monotonic_ns();
  const NumberedPort* port = target.lan.ports().port_of(gateway);
  const json itself = {{"port", port != nullptr ? json(port->number) : json(nullptr)},
                       {"mac", to_string(book.own_mac())},
                       {"address", to_string(gateway.network().gateway())},
                       {"network", cidr(gateway.network())},
                       {"mtu", book.mtu()}};
  JsonItems guests =
      items_of(std::vector<GuestBook::Guest>(book.guests().begin(), book.guests().end()),
               [now_ns](const GuestBook::Guest& guest) { return describe_guest(guest, now_ns); });
  JsonItems claims =
      items_of(std::vector<GuestBook::Claim>(book.claims().begin(), book.claims().end()),
               [now_ns, network = gateway.network()](const GuestBook::Claim& claim) {
                 return describe_claim(claim, network, now_ns);
               });
  return reply_with_object({{.name = "gateway", .value = itself},
                            {.name = "guests", .items = std::move(guests)},
                            {.name = "claims", .items = std::move(claims)}});
}

ControlReply show_loops(const ControlledLan& target) {
  const vlan::StormGuard& guard = target.lan.fabric().storm_guard();
  json ports = json::array();
  for (const auto& [number, port] : target.lan.ports().ports()) {
    if (guard.engaged() && guard.looping(number)) ports.push_back(number);
  }
  return {.json = {
              {"engaged", guard.engaged()}, {"episodes", guard.episode_count()}, {"ports", ports}}};
}

}  // namespace

void add_guest_routes(Router& router, ControlledLan& target) {
  router.add("GET", "/guests",
             [&](const ControlRequest& request) { return show_guests(target, request); });
  router.add("GET", "/loops", [&](const ControlRequest&) { return show_loops(target); });
}

}  // namespace tools
