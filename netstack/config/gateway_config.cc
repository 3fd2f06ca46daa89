#include "netstack/config/gateway_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "netstack/base/error.h"
#include "netstack/base/number.h"

namespace netstack {

namespace {

IpAddress fec0(uint8_t last) {
  IpAddress address;
  address.v6 = true;
  address.octets[0] = 0xfe;
  address.octets[1] = 0xc0;
  address.octets[15] = last;
  return address;
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

std::vector<StaticLease> GatewayConfig::reserved_leases() const {
  std::vector<StaticLease> reserved = names.leases;
  for (const GuestForward& forward : guest_forwards) {
    const auto& ip = forward.address.octets;
    reserved.push_back({Mac{{0x52, 0x55, ip[0], ip[1], ip[2], ip[3]}}, forward.address});
  }
  return reserved;
}

void GatewayConfig::check_forwards() const {
  for (const HostForward& forward : forwards) check_forward(forward);
}

void GatewayConfig::check_forward(const HostForward& forward) const {
  const auto refuse = [&](std::string_view why) {
    return Error(EX_USAGE, fmt::format("cannot forward {}: {}", to_string(forward), why));
  };
  const IpAddress& guest = forward.guest_address;
  if (guest.v6 && !ipv6) throw refuse("this gateway has no IPv6; lead it to an IPv4 address");
  const bool any = guest.octets == IpAddress{}.octets;
  if (!guest.v6 && !any && !network.contains(guest)) {
    throw refuse(
        fmt::format("the guest's address is not in {}/{}; leave it out for the first "
                    "lease, or choose one of that network",
                    to_string(network.network), network.prefix_bits));
  }
  constexpr size_t kPrefixBytes = GatewayNetwork::kPrefix6Bits / 8;
  if (guest.v6 && !any &&
      !std::equal(guest.octets.begin(), guest.octets.begin() + kPrefixBytes,
                  GatewayNetwork::prefix6().octets.begin())) {
    throw refuse(
        fmt::format("the guest's address is not in {}/{}; write [::] for the first IPv6 "
                    "guest, or choose one of that network",
                    to_string(GatewayNetwork::prefix6()), GatewayNetwork::kPrefix6Bits));
  }
  if (forward.protocol == Protocol::kUdp && forward.host_address.v6 != guest.v6) {
    throw refuse(
        "UDP stays within one address family; give both sides an IPv4 or both an IPv6 "
        "address");
  }
}

}  // namespace netstack
