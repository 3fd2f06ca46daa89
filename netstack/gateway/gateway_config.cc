#include "netstack/gateway/gateway_config.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "netstack/base/error.h"

namespace netstack {

namespace {

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

IpAddress fec0(uint8_t last) {
  IpAddress address;
  address.v6 = true;
  address.octets[0] = 0xfe;
  address.octets[1] = 0xc0;
  address.octets[15] = last;
  return address;
}

struct Endpoint {
  std::optional<IpAddress> address;
  uint16_t port;
};

// "ADDRESS:PORT" or ":PORT"; the address may stay away, the port may not.
std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_number<uint16_t>(text.substr(colon + 1));
  if (!port || *port == 0) return std::nullopt;
  const std::string_view host = text.substr(0, colon);
  if (host.empty()) return Endpoint{std::nullopt, *port};
  const auto address = IpAddress::parse(host);
  if (!address || address->v6) return std::nullopt;
  return Endpoint{address, *port};
}

}  // namespace

GatewayNetwork GatewayNetwork::parse(std::string_view cidr) {
  const auto refuse = [&](std::string_view why) {
    return Error(EX_USAGE,
                 fmt::format("cannot use --net {}: {}; write for example 10.0.2.0/24", cidr, why));
  };
  const size_t slash = cidr.find('/');
  const auto address = IpAddress::parse(cidr.substr(0, slash));
  // A number for "none" rather than an optional: g++ 12 takes that one's value for uninitialized.
  constexpr unsigned kNoBits = ~0U;
  const unsigned bits = slash == std::string_view::npos
                            ? kNoBits
                            : parse_number<unsigned>(cidr.substr(slash + 1)).value_or(kNoBits);
  if (!address || address->v6 || bits == kNoBits)
    throw refuse("it is not an IPv4 network in CIDR form");
  if (bits < 8 || bits > 27)
    throw refuse("the prefix must be /8 to /27, so that .2, .3 and .15 fit");
  if (address->is_loopback() || address->is_multicast() || address->octets[0] == 0) {
    throw refuse("loopback, multicast and 0.0.0.0/8 cannot be a guest's network");
  }
  GatewayNetwork result;
  result.network = *address;
  result.prefix_bits = static_cast<uint8_t>(bits);
  if ((address->v4_bits() & ~result.netmask()) != 0) throw refuse("bits after the prefix are set");
  return result;
}

std::string GatewayNetwork::wrong_numbers(bool leasing) const {
  const uint32_t hosts = ~netmask();  // the highest number is the broadcast address
  const auto in_network = [&](uint32_t number) { return number > 0 && number < hosts; };
  const auto leased = [&](uint32_t number) {
    return leasing && number >= first_lease_number && number - first_lease_number < kLeases_count;
  };
  if (!in_network(gateway_number)) return "the gateway's address is no host of the network";
  if (leasing && (!in_network(first_lease_number) || hosts - first_lease_number < kLeases_count)) {
    return fmt::format("{} leases from {} on do not fit into the network", kLeases_count,
                       netstack::to_string(first_lease()));
  }
  if (leased(gateway_number)) return "the gateway's address would be leased";
  if (nameserver_elsewhere) return {};
  if (!in_network(nameserver_number)) return "the nameserver's address is no host of the network";
  if (nameserver_number == gateway_number) return "gateway and nameserver have the same address";
  if (leased(nameserver_number)) return "the nameserver's address would be leased";
  return {};
}

IpAddress GatewayNetwork::prefix6() {
  return fec0(0);
}
IpAddress GatewayNetwork::gateway6() {
  return fec0(2);
}
IpAddress GatewayNetwork::nameserver6() {
  return fec0(3);
}

HostForward HostForward::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return Error(EX_USAGE, fmt::format("cannot use --hostfwd {}: {}; write for example "
                                       "tcp:127.0.0.1:2222-:22",
                                       text, why));
  };
  const size_t colon = text.find(':');
  const size_t dash = text.find('-');
  if (colon == std::string_view::npos || dash == std::string_view::npos || dash < colon) {
    throw refuse("it is not PROTOCOL:[HOST]:PORT-[GUEST]:PORT");
  }
  HostForward forward;
  const std::string_view protocol = text.substr(0, colon);
  if (protocol == "udp") {
    forward.protocol = Protocol::kUdp;
  } else if (protocol != "tcp") {
    throw refuse("the protocol is neither tcp nor udp");
  }
  const auto host = parse_endpoint(text.substr(colon + 1, dash - colon - 1));
  const auto guest = parse_endpoint(text.substr(dash + 1));
  if (!host) throw refuse("the host side is not [IPV4-ADDRESS]:PORT");
  if (!guest) throw refuse("the guest side is not [IPV4-ADDRESS]:PORT");
  if (host->address) forward.host_address = *host->address;
  if (guest->address) forward.guest_address = *guest->address;
  forward.host_port = host->port;
  forward.guest_port = guest->port;
  return forward;
}

std::string to_string(const HostForward& forward) {
  const bool any_guest = forward.guest_address == IpAddress{};
  return fmt::format("{}:{}:{}-{}:{}", protocol_name(forward.protocol),
                     to_string(forward.host_address), forward.host_port,
                     any_guest ? "" : to_string(forward.guest_address), forward.guest_port);
}

void GatewayConfig::check_forwards() const {
  for (const HostForward& forward : forwards) {
    if (forward.guest_address == IpAddress{} || network.contains(forward.guest_address)) continue;
    throw Error(EX_USAGE,
                fmt::format("cannot forward {}: the guest's address is not in {}/{}; leave "
                            "it out for the first lease, or choose one of that network",
                            to_string(forward), to_string(network.network), network.prefix_bits));
  }
}

}  // namespace netstack
