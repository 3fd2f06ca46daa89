// Which message gets which answer, RFC 2131 §4.3, by what a client fills in:
//
//   DISCOVER                                     OFFER of the address LeaseTable chooses; silence
//                                                if none is left for that port of the switch
//   REQUEST, server id (it selects an offer)     ours: ACK or NAK; another server's: its offer ends
//   REQUEST, requested address (it rebooted)     ACK if the address is free and left for that
//                                                port, NAK otherwise
//   REQUEST, ciaddr (it renews or rebinds)       the same for that address
//   INFORM                                       ACK without an address
//   DECLINE                                      the address is set aside, and a line says so
//   RELEASE                                      the lease ends
//
// Where the answer goes, §4.1: a NAK to everybody, an answer to a client with an address (ciaddr)
// there, to one that asks for broadcast to everybody, to others at their new address, by MAC. There
// are no relays between a switch's port and its guests, so what came by one (giaddr) is ignored.
#include "netstack/names/dhcp_server.h"

#include <fmt/format.h>

#include <algorithm>

#include "netstack/config/host_name.h"
#include "netstack/wire/dns.h"

namespace netstack {

namespace {

constexpr IpAddress kNobody{};
constexpr size_t kPacketHeadsBytes = 28;  // IPv4 and UDP, which option 57 counts in
const IpAddress kEverybody = IpAddress::v4(0xffff'ffff);

Mac mac_of(const Dhcp& dhcp) {
  return {dhcp.client_mac};
}

bool is_of_client(const std::optional<Dhcp>& dhcp, const Mac& sender) {
  return dhcp && !dhcp->from_server && !mac_of(*dhcp).is_group() && mac_of(*dhcp) != Mac{} &&
         !sender.is_group();
}

// RFC 2132 §9.10 permits no limit below 576; a greater one is of no use to us.
size_t payload_bytes_max(const Dhcp& request) {
  constexpr size_t kEthernetPacketBytes = 1500;
  const size_t asked =
      std::min<size_t>(request.message_bytes_max.value_or(0), kEthernetPacketBytes);
  return std::max(kDhcpPayloadBytesMax + kPacketHeadsBytes, asked) - kPacketHeadsBytes;
}

std::string text_of(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace

std::optional<std::string> client_name(const Dhcp& request) {
  std::string text(request.hostname);
  if (request.fqdn && !request.fqdn->name.empty()) {
    const bool wire = (request.fqdn->flags & DhcpFqdn::kWireNames) != 0;
    text = wire ? wire_host_name(request.fqdn->name).value_or("") : text_of(request.fqdn->name);
  }
  if (text.ends_with('\0')) text.pop_back();  // as some clients send it
  return host_label(text.substr(0, text.find('.')));
}

DhcpServer::DhcpServer(const GatewayConfig& config, LeaseTable& leases, Log& log, Clock& clock)
    : network_(config.network),
      names_(config.names),
      restricted_(config.policy.restricted),
      search_(config.names.search_wire()),
      leases_(leases),
      clock_(clock),
      log_(log, clock, "DHCP"),
      over_limit_log_(log, clock, "leases refused to a port", 1) {}

std::optional<IpAddress> DhcpServer::unproven(std::span<const uint8_t> payload, const Mac& sender,
                                              PortId lan_port) {
  const auto request = parse_dhcp(payload);
  if (!is_of_client(request, sender) || request->relay_ip != kNobody ||
      (request->server_id && *request->server_id != network_.gateway())) {
    return std::nullopt;
  }
  const Mac mac = mac_of(*request);
  const uint64_t now_ns = clock_.monotonic_ns();
  std::optional<IpAddress> wanted = request->requested_ip;
  if (request->type == DhcpType::kRequest) {
    if (request->client_ip != kNobody) wanted = request->client_ip;
    const Lease* own = leases_.find(mac);
    const bool other = own != nullptr && own->address != wanted;
    if (!wanted || other || !leases_.may_have(mac, *wanted, now_ns)) return std::nullopt;
  } else if (request->type != DhcpType::kDiscover) {
    return std::nullopt;
  }
  const auto address = leases_.offer(mac, wanted, now_ns, lan_port);
  return address && !leases_.find(mac)->proven ? address : std::nullopt;
}

void DhcpServer::note_conflict(const Mac& asker, const IpAddress& address, const Mac& holder) {
  ++counters_.conflicts;
  log_.line(fmt::format(
      "DHCP: {} is not given {}: {} answers for it and has no lease; the address is left to that "
      "one for {} s. Look for an address set by hand there, or one leased before this switch began",
      to_string(asker), to_string(address), to_string(holder),
      LeaseTable::kSetAside_ns / kSecond_ns));
}

void DhcpServer::note_disbelief(const Mac& asker, const IpAddress& address, const Mac& holder) {
  log_.line(fmt::format(
      "DHCP: {} is given {} though {} answers for it: that one, or its port, has answered for as "
      "many addresses without a lease as it may, and is believed no more. Look for proxy ARP there",
      to_string(asker), to_string(address), to_string(holder)));
}

std::optional<DhcpReply> DhcpServer::answer(std::span<const uint8_t> payload, const Mac& sender,
                                            PortId lan_port) {
  const auto request = parse_dhcp(payload);
  if (!is_of_client(request, sender)) {
    ++counters_.malformed;
    return std::nullopt;
  }
  if (request->relay_ip != kNobody || is_for_another(*request)) {
    ++counters_.ignored;
    return std::nullopt;
  }
  switch (request->type) {
    case DhcpType::kDiscover:
      return on_discover(*request, lan_port);
    case DhcpType::kRequest:
      return on_request(*request, lan_port);
    case DhcpType::kInform:
      return on_inform(*request);
    case DhcpType::kDecline:
      on_decline(*request);
      return std::nullopt;
    case DhcpType::kRelease:
      on_release(*request);
      return std::nullopt;
    default:
      ++counters_.ignored;
      return std::nullopt;
  }
}

// A client that names another server has chosen that one's offer: ours is free again.
bool DhcpServer::is_for_another(const Dhcp& request) const {
  if (!request.server_id || *request.server_id == network_.gateway()) return false;
  if (request.type == DhcpType::kRequest) {
    const Lease* offered = leases_.find(mac_of(request));
    if (offered != nullptr && !offered->bound) leases_.release(offered->mac, offered->address);
  }
  return true;
}

DhcpServer::Answer DhcpServer::on_discover(const Dhcp& request, PortId lan_port) {
  const Mac mac = mac_of(request);
  const auto address = leases_.offer(mac, request.requested_ip, clock_.monotonic_ns(), lan_port);
  if (!address) {
    say_none_left(mac, lan_port);
    return std::nullopt;
  }
  ++counters_.offers;
  return reply(request, DhcpType::kOffer, *address);
}

DhcpServer::Answer DhcpServer::on_request(const Dhcp& request, PortId lan_port) {
  const bool renewing = request.client_ip != kNobody;
  const IpAddress address = renewing ? request.client_ip : request.requested_ip.value_or(kNobody);
  if (address == kNobody || (request.requested_ip && *request.requested_ip != address)) {
    ++counters_.malformed;  // §4.3.2: one of the two; forgiven: both, when they agree
    return std::nullopt;
  }
  return grant(request, address, lan_port);
}

DhcpServer::Answer DhcpServer::grant(const Dhcp& request, const IpAddress& address,
                                     PortId lan_port) {
  const Mac mac = mac_of(request);
  const uint64_t now_ns = clock_.monotonic_ns();
  if (!network_.contains(address)) {
    return refuse(request, address, "that address is of another network");
  }
  const Lease* before = leases_.find(mac);
  if (before != nullptr && before->address != address) {
    return refuse(request, address, "that address is not yours");
  }
  const bool renewed = before != nullptr && before->live(now_ns) && before->address == address;
  const uint64_t until_ns = now_ns + names_.lease_seconds * kSecond_ns;
  if (!leases_.bind(mac, address, until_ns, now_ns, lan_port)) {
    if (!leases_.may_have(mac, address, now_ns)) {
      return refuse(request, address, "that address is not yours");
    }
    say_none_left(mac, lan_port);
    return refuse(request, address, "no address is left for you");
  }
  take_name(mac, request);
  ++counters_.acks;
  tell(renewed ? LeaseEvent::Kind::kRenewed : LeaseEvent::Kind::kGiven, mac, address);
  return reply(request, DhcpType::kAck, address);
}

DhcpServer::Answer DhcpServer::on_inform(const Dhcp& request) {
  if (request.client_ip == kNobody || !network_.contains(request.client_ip)) {
    ++counters_.malformed;
    return std::nullopt;
  }
  ++counters_.informs;
  return reply(request, DhcpType::kAck, kNobody);
}

void DhcpServer::on_decline(const Dhcp& request) {
  const Mac mac = mac_of(request);
  if (!request.requested_ip ||
      !leases_.set_aside(mac, *request.requested_ip, clock_.monotonic_ns())) {
    ++counters_.malformed;
    return;
  }
  ++counters_.declines;
  tell(LeaseEvent::Kind::kDeclined, mac, *request.requested_ip);
  log_.line(fmt::format(
      "DHCP: {} found {} in use by another machine; the address is set aside for "
      "{} s. Look for an address set by hand there",
      to_string(mac), to_string(*request.requested_ip), LeaseTable::kSetAside_ns / kSecond_ns));
}

void DhcpServer::on_release(const Dhcp& request) {
  if (leases_.release(mac_of(request), request.client_ip)) {
    ++counters_.releases;
    tell(LeaseEvent::Kind::kReleased, mac_of(request), request.client_ip);
  } else {
    ++counters_.malformed;
  }
}

DhcpServer::Answer DhcpServer::refuse(const Dhcp& request, const IpAddress& address,
                                      std::string_view why) {
  ++counters_.naks;
  tell(LeaseEvent::Kind::kRefused, mac_of(request), address);
  Dhcp out;
  out.type = DhcpType::kNak;
  out.from_server = true;
  out.broadcast = request.broadcast;
  out.xid = request.xid;
  out.client_mac = request.client_mac;
  out.server_id = network_.gateway();
  out.client_id = request.client_id;
  out.message = why;
  return DhcpReply{make_dhcp(out), kEverybody, kBroadcast};
}

DhcpServer::Answer DhcpServer::reply(const Dhcp& request, DhcpType type, const IpAddress& address) {
  const bool informing = address == kNobody;
  Dhcp out;
  out.type = type;
  out.from_server = true;
  out.broadcast = request.broadcast;
  out.xid = request.xid;
  out.client_mac = request.client_mac;
  out.client_ip = type == DhcpType::kOffer ? kNobody : request.client_ip;
  out.your_ip = address;
  out.client_id = request.client_id;
  fill_network(out);
  std::string name = configured_name(informing ? request.client_ip : address);
  if (!informing) {
    out.lease_seconds = names_.lease_seconds;
    out.renewal_seconds = names_.lease_seconds / 2;  // §4.4.5
    out.rebinding_seconds = static_cast<uint32_t>(uint64_t{names_.lease_seconds} * 7 / 8);
    const Lease* lease = leases_.find(mac_of(request));
    if (name.empty() && lease != nullptr) name = lease->name;
  }
  fill_name(request, name, out);

  const Mac mac = mac_of(request);
  std::vector<uint8_t> message = make_dhcp(out, payload_bytes_max(request));
  if (out.client_ip != kNobody) return DhcpReply{std::move(message), out.client_ip, mac};
  if (request.broadcast) return DhcpReply{std::move(message), kEverybody, kBroadcast};
  return DhcpReply{std::move(message), address, mac};
}

void DhcpServer::fill_network(Dhcp& out) const {
  out.server_id = network_.gateway();
  out.subnet_mask = IpAddress::v4(network_.netmask());
  out.broadcast_address = IpAddress::v4(network_.network.v4_bits() | ~network_.netmask());
  if (!restricted_) {  // else there is no way out to tell of, as with QEMU's restrict=on
    out.router = network_.gateway();
    out.dns = network_.nameserver();
  }
  out.domain = names_.domain;
  out.search = search_;
  if (names_.mtu != 0) out.mtu = names_.mtu;
}

// The name the guest is known by here. A client that spoke of its full name is told that one, and
// that it stands in the DNS (RFC 4702 §4).
void DhcpServer::fill_name(const Dhcp& request, const std::string& name, Dhcp& out) {
  out.hostname = name;
  if (!request.fqdn || name.empty()) return;
  const bool wire = (request.fqdn->flags & DhcpFqdn::kWireNames) != 0;
  const std::string full = full_name(name);
  fqdn_.clear();
  if (wire) {
    append_dns_name(full, fqdn_);
  } else {
    fqdn_.assign(full.begin(), full.end());
  }
  const bool asked = (request.fqdn->flags & DhcpFqdn::kServerUpdates) != 0;
  const auto flags =
      static_cast<uint8_t>(DhcpFqdn::kServerUpdates | (asked ? 0 : DhcpFqdn::kOverridden) |
                           (wire ? DhcpFqdn::kWireNames : 0));
  out.fqdn = DhcpFqdn{flags, fqdn_};
}

void DhcpServer::take_name(const Mac& mac, const Dhcp& request) {
  const auto name = client_name(request);
  if (!name) return;
  const Lease* own = leases_.find(mac);
  if (own != nullptr && configured_name(own->address) == *name) return;  // --host said it first
  const bool reserved =
      *name == kGatewayName || std::ranges::any_of(names_.hosts, [&](const HostEntry& host) {
        return host.name == *name || host.name == full_name(*name);
      });
  if (!reserved && leases_.name(mac, *name, clock_.monotonic_ns())) return;
  log_.line(
      fmt::format("DHCP: {} calls itself \"{}\", and that name is taken; it is not known by "
                  "name. Give it another host name",
                  to_string(mac), *name));
}

// The one-label name that --host gives to an address.
std::string DhcpServer::configured_name(const IpAddress& address) const {
  for (const HostEntry& host : names_.hosts) {
    if (host.address != address) continue;
    const std::string label = host.name.substr(0, host.name.find('.'));
    if (host.name == label || host.name == full_name(label)) return label;
  }
  return {};
}

std::string DhcpServer::full_name(const std::string& name) const {
  return names_.domain.empty() ? name : fmt::format("{}.{}", name, names_.domain);
}

void DhcpServer::say_none_left(const Mac& mac, PortId lan_port) {
  tell(LeaseEvent::Kind::kExhausted, mac, kNobody);
  if (leases_.free_count() != 0 && leases_.has_its_share(lan_port)) {
    ++counters_.over_limit;
    return over_limit_log_.line(
        fmt::format("DHCP: no address for {}: port {} of the switch has its share, {} of {}; {} "
                    "are kept for other ports. Look for a guest there that invents MAC addresses, "
                    "or choose a larger --net",
                    to_string(mac), lan_port, leases_.taken_count(lan_port), leases_.pool_count(),
                    leases_.free_count()));
  }
  ++counters_.exhausted;
  const uint64_t now_ns = clock_.monotonic_ns();
  log_.line(
      fmt::format("DHCP: no address left for {}: {} leases from {} on are given away; choose "
                  "a larger --net",
                  to_string(mac), leases_.live_count(now_ns), to_string(network_.first_lease())));
}

void DhcpServer::tell(LeaseEvent::Kind kind, const Mac& mac, const IpAddress& address) const {
  if (!watcher_) return;
  const Lease* lease = leases_.find(mac);
  watcher_({kind, mac, address, lease != nullptr ? std::string_view(lease->name) : ""});
}

}  // namespace netstack
