#include "tools/lanyard/user_gateway.h"

#include <fmt/format.h>

#include "netstack/base/error.h"

namespace tools {

using netstack::GatewayNetwork;
using netstack::IpAddress;

namespace {

GatewayNetwork network_of(const driver::UserNetwork& user) {
  GatewayNetwork network = GatewayNetwork::parse(
      fmt::format("{}/{}", to_string(IpAddress::v4(user.network)), user.prefix_bits));
  network.gateway_number = user.gateway - user.network;
  network.first_lease_number = user.first_lease - user.network;
  const IpAddress nameserver = IpAddress::v4(user.nameserver);
  if (network.contains(nameserver)) {
    network.nameserver_number = user.nameserver - user.network;
  } else {
    network.nameserver_elsewhere = nameserver;
  }
  return network;
}

}  // namespace

std::string stand_in_for(const driver::UserNetwork& user, bool net_is_chosen,
                         netstack::GatewayConfig& config) {
  if (!user.refusal.empty()) return user.refusal;
  if (!user.ipv4) return "ipv4=off: the gateway always has an IPv4 network";
  if (user.own_numbers && net_is_chosen) return "its addresses are its own, and --net is given";
  netstack::GatewayConfig wanted = config;
  try {
    if (user.own_numbers) wanted.network = network_of(user);
    for (const std::string& forward : user.forwards) {
      wanted.forwards.push_back(netstack::HostForward::parse(forward));
    }
    for (const std::string& forward : user.guest_forwards) {
      wanted.guest_forwards.push_back(netstack::GuestForward::parse(forward));
      wanted.guest_forwards.back().check(wanted.network);
    }
    wanted.check_forwards();
  } catch (const netstack::Error& error) {
    return error.what();
  }
  wanted.ipv6 = wanted.ipv6 && user.ipv6;
  wanted.policy.restricted = wanted.policy.restricted || user.restricted;
  if (std::string wrong = wanted.network.wrong_numbers(wanted.dhcp); !wrong.empty()) return wrong;
  config = wanted;
  return {};
}

}  // namespace tools
