#include "netstack/names/name_service.h"

#include <algorithm>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/flows/fragments.h"
#include "netstack/wire/dhcpv6.h"
#include "netstack/wire/dns.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/router_advertisement.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/tcp_rewrite.h"
#include "netstack/wire/udp.h"

namespace netstack {

namespace {

// The gateway's link-local address, from which libslirp's router advertisements come.
IpAddress link_local6() {
  IpAddress address = GatewayNetwork::gateway6();
  address.octets[0] = 0xfe;
  address.octets[1] = 0x80;
  return address;
}

bool is_link_local6(const IpAddress& address) {
  return address.v6 && address.octets[0] == 0xfe && (address.octets[1] & 0xc0U) == 0x80U;
}

}  // namespace

NameService::NameService(Loop& loop, const GatewayConfig& config, const Mac& mac, const Mac& mac6,
                         Log& log, Output output)
    : loop_(loop),
      output_(std::move(output)),
      network_(config.network),
      leasing_(config.dhcp),
      ipv6_(config.ipv6),
      restricted_(config.policy.restricted),
      names_((config.check_names(), config.names)),
      mac_(mac),
      mac6_(mac6),
      search_(names_.search_wire()),
      duid_(make_duid(mac6.octets)),
      leases_(network_, config.reserved_leases()),
      dhcp_(config, leases_, log, loop.clock()),
      probe_(
          loop,
          {.ask = [this](const IpAddress& address) { output_.ask_who_has(address); },
           .on_end = [this](const AddressProbe::Question& question,
                            const std::optional<Mac>& holder) { on_probe_end(question, holder); }}),
      lan_(config, leases_),
      resolv_conf_(config.resolv_conf, loop.clock(), log),
      forwarder_(loop, {.on_answer =
                            [this](const DnsClient& client, std::span<const uint8_t> message) {
                              ++dns_.answered;
                              output_.on_answered(client, message);
                              respond(client, message);
                            },
                        .on_failure =
                            [this](const DnsClient& client, std::span<const uint8_t> query,
                                   const DnsFailure& failure) {
                              ++dns_.failed;
                              if (output_.on_failure(client, query, failure)) return;
                              respond(client, make_dns_refusal(query, kDnsServerFailure));
                            },
                        .on_evicted =
                            [this](const DnsClient& client, std::span<const uint8_t> query) {
                              ++dns_.evicted;
                              respond(client, make_dns_refusal(query, kDnsServerFailure));
                            }}),
      stream_(
          loop,
          {.on_query =
               [this](uint64_t connection, const IpAddress& guest, std::span<const uint8_t> query) {
                 DnsClient client;
                 client.connection = connection;
                 client.guest = guest;
                 client.asked = guest.v6 ? GatewayNetwork::nameserver6() : network_.nameserver();
                 answer_query(client, query);
               },
           .on_closed =
               [this](uint64_t connection) { forwarder_.forget_connection(connection); }}) {}

bool NameService::is_dns(const IpAddress& address) const {
  if (address.v6) return ipv6_ && address == GatewayNetwork::nameserver6();
  return address == network_.nameserver() && !network_.nameserver_elsewhere;
}

// --- which packets ------------------------------------------------------------------------------

bool NameService::take(const GuestPacket& packet, PortId lan_port) {
  const IpAddress& to = packet.destination;
  const uint16_t port = read_u16(&packet.transport[2]);
  const bool dhcp = leasing_ && !packet.v6() && port == kPortDhcpServer &&
                    (network_.is_broadcast(to) || to == network_.gateway());
  const bool dhcpv6 = ipv6_ && packet.v6() && port == kPortDhcpv6Server &&
                      (to.is_multicast() || is_link_local6(to));
  const bool dns = port == kPortDns && is_dns(to);
  if (!dhcp && !dhcpv6 && !dns) return false;

  const auto udp = parse_udp(packet.transport);
  if (packet.fragment) {  // no message of these protocols is that long
    output_.drop(DropReason::kUnsupported);
  } else if (!udp || !udp_checksum_valid(packet.source, to, packet.transport)) {
    output_.drop(DropReason::kMalformed);
  } else if (dhcp) {
    take_dhcp(packet.path, lan_port, udp->payload);
  } else if (dhcpv6) {
    take_dhcpv6(packet, udp->payload, udp->source_port);
  } else {
    take_query(packet, *udp);
  }
  return true;
}

// --- DHCP and DHCPv6 ----------------------------------------------------------------------------

void NameService::take_dhcp(const ReturnPath& path, PortId lan_port,
                            std::span<const uint8_t> payload, int tries) {
  if (const auto address = dhcp_.unproven(payload, path.guest, lan_port)) {
    const Mac asker = leases_.find(*address)->mac;
    if (probe_.begin({.address = *address,
                      .asker = asker,
                      .path = path,
                      .lan_port = lan_port,
                      .message = {payload.begin(), payload.end()},
                      .tries = tries})) {
      return;
    }
    leases_.prove(asker);
  }
  const uint64_t malformed_before = dhcp_.counters().malformed;
  const auto reply = dhcp_.answer(payload, path.guest, lan_port);
  if (dhcp_.counters().malformed != malformed_before) output_.drop(DropReason::kMalformed);
  if (!reply) return;
  send({.guest = reply->mac, .gateway = mac_},
       make_udp_packet(network_.gateway(), kPortDhcpServer, reply->destination, kPortDhcpClient,
                       reply->message));
}

// Whoever has the address is known to the table by now, so the next answer is another one.
void NameService::on_probe_end(const AddressProbe::Question& question,
                               const std::optional<Mac>& holder) {
  if (!holder) {
    leases_.prove(question.asker);
    return take_dhcp(question.path, question.lan_port, question.message);
  }
  if (leases_.may_have(question.asker, question.address, loop_.clock().monotonic_ns())) {
    dhcp_.note_disbelief(question.asker, question.address, *holder);
    leases_.prove(question.asker);
    return take_dhcp(question.path, question.lan_port, question.message);
  }
  dhcp_.note_conflict(question.asker, question.address, *holder);
  if (question.tries + 1 < kTriesMax) {
    take_dhcp(question.path, question.lan_port, question.message, question.tries + 1);
  }
}

void NameService::hear_address(const IpAddress& address, const Mac& mac, PortId lan_port) {
  if (!leasing_ || mac.is_group()) return;
  leases_.see(mac, address, loop_.clock().monotonic_ns(), lan_port);
  probe_.hear(address, mac);
}

// Stateless only (RFC 8415 §18.3.6): addresses come from router advertisements, so a client that
// wants one from us is not answered and uses those.
void NameService::take_dhcpv6(const GuestPacket& packet, std::span<const uint8_t> payload,
                              uint16_t port) {
  const auto request = parse_dhcpv6(payload);
  if (!request) return output_.drop(DropReason::kMalformed);
  const bool for_another =
      !request->server_id.empty() && !std::ranges::equal(request->server_id, duid_);
  if (request->type != Dhcpv6Type::kInformationRequest || request->wants_address || for_another) {
    return output_.drop(DropReason::kUnsupported);
  }
  Dhcpv6 reply;
  reply.type = Dhcpv6Type::kReply;
  reply.transaction = request->transaction;
  reply.client_id = request->client_id;
  reply.server_id = duid_;
  if (!restricted_) reply.dns = GatewayNetwork::nameserver6();
  reply.search = search_;
  reply.refresh_seconds = kRefreshSeconds;
  const std::vector<uint8_t> message = make_dhcpv6(reply);
  send({.guest = packet.path.guest, .gateway = mac6_},
       make_udp_packet(link_local6(), kPortDhcpv6Server, packet.source, port, message));
}

// --- DNS ----------------------------------------------------------------------------------------

void NameService::take_query(const GuestPacket& packet, const Udp& udp) {
  DnsClient client;
  client.guest = packet.source;
  client.path = packet.path;
  client.port = udp.source_port;
  client.asked = packet.destination;
  if (may_answer_with_error(packet.ip)) {
    const auto quoted = packet.ip.first(std::min(packet.ip.size(), kQuotedBytesMax));
    client.quoted.assign(quoted.begin(), quoted.end());
  }
  answer_query(client, udp.payload);
}

void NameService::answer_query(const DnsClient& client, std::span<const uint8_t> query) {
  const auto parsed = parse_query(query);
  if (!parsed) {  // over TCP this leaves the guest waiting for nothing: it has not asked
    ++dns_.refused;
    return output_.drop(DropReason::kMalformed);
  }
  DnsClient asking = client;
  asking.udp_bytes_max = parsed->udp_bytes_max;
  ++dns_.queries;
  if (parsed->refusal != 0) {
    ++dns_.refused;
    return respond(asking, make_dns_refusal(query, parsed->refusal));
  }
  if (parsed->internet) {
    const uint64_t now_ns = loop_.clock().monotonic_ns();
    if (const auto local = lan_.lookup(parsed->name, parsed->type, now_ns)) {
      ++dns_.local;
      return respond(asking, make_local_answer(query, *parsed, *local));
    }
  }
  if (!output_.may_ask(asking, parsed->name)) {
    ++dns_.denied;
    return respond(asking, make_dns_refusal(query, kDnsRefused));
  }
  ++dns_.forwarded;
  std::vector<DnsServer> servers = lan_.zone_servers(parsed->name);
  if (servers.empty()) servers = resolv_conf_.servers();
  forwarder_.ask(std::move(asking), {query.begin(), query.end()}, std::move(servers));
}

void NameService::respond(const DnsClient& client, std::span<const uint8_t> message) {
  output_.on_told(client, message);
  if (client.over_tcp()) return stream_.answer(client.connection, message);
  // Over IPv4 a long answer goes in fragments; over IPv6 it has to fit one packet.
  const size_t packet_bytes_max = mtu() - kIpv6HeadBytes - kUdpHeadBytes;
  const size_t bytes_max = client.guest.v6
                               ? std::min<size_t>(client.udp_bytes_max, packet_bytes_max)
                               : client.udp_bytes_max;
  std::vector<uint8_t> shortened;
  if (message.size() > bytes_max) {
    shortened = make_dns_refusal(message, message[3] & 0x0fU, true);
    message = shortened;
  }
  send({.guest = client.path.guest, .gateway = client.path.gateway},
       make_udp_packet(client.asked, kPortDns, client.guest, client.port, message));
}

void NameService::send(const ReturnPath& path, std::vector<uint8_t> packet) {
  auto header = parse_ipv4(packet);
  if (!header || packet.size() <= mtu()) return output_.send(path, packet);
  header->id = ++ip_id_;
  write_ipv4(*header, packet.data());
  for (const auto& piece : fragment_ipv4(packet, mtu())) output_.send(path, piece);
}

// --- what passes through libslirp ---------------------------------------------------------------

bool NameService::redirect(const GuestPacket& packet, bool opening) {
  const bool v6 = packet.v6();
  const uint16_t port = opening ? stream_.expect(packet.source) : stream_.port(v6);
  if (port == 0) return false;
  rewrite_destination(packet.ip, v6 ? GatewayNetwork::gateway6() : network_.gateway(), port);
  return true;
}

std::span<const uint8_t> NameService::reword(std::span<const uint8_t> frame) {
  const auto packet = parse_towards_guest(frame);
  if (!packet || packet->fragment || packet->transport.size() < kIcmpHeadBytes) return frame;
  const bool v6 = packet->v6();
  const size_t ip_at = static_cast<size_t>(packet->ip.data() - frame.data());
  if (packet->protocol == kProtocolIcmpv6 && v6) {
    if (!reword_advertisement(packet->transport)) return frame;
    std::vector<uint8_t> message = std::move(reworded_);
    const uint16_t sum =
        transport_checksum(packet->source, packet->destination, kProtocolIcmpv6, message);
    write_u16(&message[2], sum);
    reworded_.assign(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(ip_at + kIpv6HeadBytes));
    reworded_.insert(reworded_.end(), message.begin(), message.end());
    write_u16(&reworded_[ip_at + 4], static_cast<uint16_t>(message.size()));
    return reworded_;
  }
  const IpAddress gateway = v6 ? GatewayNetwork::gateway6() : network_.gateway();
  const uint16_t port = stream_.port(v6);
  if (packet->protocol != kProtocolTcp || port == 0 || packet->source != gateway ||
      packet->transport.size() < kTcpHeadBytes || read_u16(packet->transport.data()) != port) {
    return frame;
  }
  reworded_.assign(frame.begin(), frame.end());
  rewrite_source(std::span(reworded_).subspan(ip_at, packet->ip.size()),
                 v6 ? GatewayNetwork::nameserver6() : network_.nameserver(), kPortDns);
  return reworded_;
}

// libslirp names itself as nameserver only where the host has one with an IPv6 address, and knows
// neither search domains nor another MTU. Restricted, guests are told of no way out, as by DHCP: no
// default router and no nameserver; the prefix stays, so that they have addresses for each other.
// Where the host alone has no way out they are told of one: a guest that comes here is told why.
// Leaves the new message in reworded_.
bool NameService::reword_advertisement(std::span<const uint8_t> message) {
  RouterAnnouncement announcement;
  announcement.default_router = !restricted_;
  if (!restricted_) announcement.dns = GatewayNetwork::nameserver6();
  announcement.search = search_;
  announcement.lifetime_seconds = kRefreshSeconds;
  if (names_.mtu >= kIpv6LinkMtuMin) announcement.mtu = names_.mtu;
  auto reworded = announce(message, announcement);
  if (!reworded) return false;
  reworded_ = std::move(*reworded);
  return true;
}

}  // namespace netstack
