#include "netstack/config/names_config.h"

#include <fmt/format.h>

#include <optional>
#include <set>

#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/base/number.h"
#include "netstack/config/gateway_config.h"
#include "netstack/config/host_name.h"
#include "netstack/frame/parse_mac.h"
#include "netstack/wire/dns.h"

namespace netstack {

namespace {

struct Pair {
  std::string_view key;
  std::string_view value;
};

// "KEY=VALUE", neither of them empty.
std::optional<Pair> split(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
    return std::nullopt;
  }
  return Pair{text.substr(0, equals), text.substr(equals + 1)};
}

Error refusal(std::string_view option, std::string_view text, std::string_view why,
              std::string_view example) {
  return {EX_USAGE,
          fmt::format("cannot use {} {}: {}; write for example {}", option, text, why, example)};
}

// "ADDRESS", "IPV4:PORT" or "[IPV6]:PORT".
std::optional<DnsServer> parse_server(std::string_view text) {
  DnsServer server;
  if (const auto address = IpAddress::parse(text)) {
    server.address = *address;
    return server;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  const auto port = parse_number<uint16_t>(text.substr(colon + 1));
  if (!address || address->v6 != bracketed || !port || *port == 0) return std::nullopt;
  server.address = *address;
  server.port = *port;
  return server;
}

}  // namespace

HostEntry HostEntry::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return refusal("--host", text, why, "db=10.0.2.20");
  };
  const auto pair = split(text);
  if (!pair) throw refuse("it is not NAME=ADDRESS");
  auto name = domain_name(pair->key);
  if (!name) throw refuse("the name is not made of letters, digits, hyphens and dots");
  const auto address = IpAddress::parse(pair->value);
  if (!address) throw refuse("what follows the = is no IPv4 or IPv6 address");
  return {std::move(*name), *address};
}

StaticLease StaticLease::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return refusal("--lease", text, why, "52:54:00:12:34:56=10.0.2.9");
  };
  const auto pair = split(text);
  if (!pair) throw refuse("it is not MAC=ADDRESS");
  const auto mac = parse_mac(pair->key);
  if (!mac || mac->is_group()) throw refuse("what stands before the = is no MAC address of a card");
  const auto address = IpAddress::parse(pair->value);
  if (!address || address->v6) throw refuse("what follows the = is no IPv4 address");
  return {*mac, *address};
}

DnsZone DnsZone::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return refusal("--zone", text, why, "corp.example=192.0.2.53");
  };
  const auto pair = split(text);
  if (!pair) throw refuse("it is not SUFFIX=SERVER");
  std::string_view suffix = pair->key;
  if (suffix.size() > 1 && suffix.front() == '.') suffix.remove_prefix(1);
  auto name = suffix == "." ? std::optional<std::string>(".") : domain_name(suffix);
  if (!name) throw refuse("the suffix is not made of letters, digits, hyphens and dots");
  auto server = parse_server(pair->value);
  if (!server) throw refuse("the server is no ADDRESS, IPV4:PORT or [IPV6]:PORT");
  server->origin = fmt::format("--zone {}", text);
  return {std::move(*name), std::move(*server)};
}

std::string to_string(const DnsServer& server) {
  std::string text = to_string(server.address);
  if (!server.scope.empty()) text += fmt::format("%{}", server.scope);
  if (server.port != kPortDns) text += fmt::format(" port {}", server.port);
  return text;
}

std::string NamesConfig::parse_domain(std::string_view text, std::string_view option) {
  if (text.empty()) return {};
  auto name = domain_name(text);
  if (!name) {
    throw refusal(option, text, "it is not made of letters, digits, hyphens and dots", "lab.test");
  }
  return std::move(*name);
}

uint16_t NamesConfig::parse_mtu(std::string_view text) {
  const auto mtu = parse_number<uint16_t>(text);
  if (!mtu || *mtu < kMtuMin || *mtu > kMtuMax) {
    throw refusal("--mtu", text, fmt::format("it is no number from {} to {}", kMtuMin, kMtuMax),
                  "1400");
  }
  return *mtu;
}

std::vector<uint8_t> NamesConfig::search_wire() const {
  std::vector<uint8_t> wire;
  const auto add = [&](const std::string& name) {
    if (!name.empty()) check(append_dns_name(name, wire), "a checked domain is a name");
  };
  add(domain);
  for (const std::string& name : search) add(name);
  return wire;
}

void GatewayConfig::check_names() const {
  std::set<Mac> macs;
  std::set<IpAddress> addresses;
  for (const StaticLease& lease : names.leases) {
    const auto refuse = [&](std::string_view why) {
      return refusal("--lease",
                     fmt::format("{}={}", to_string(lease.mac), to_string(lease.address)), why,
                     fmt::format("{}={}", to_string(lease.mac), to_string(network.first_lease())));
    };
    if (!network.contains(lease.address) || network.is_broadcast(lease.address) ||
        lease.address == network.network) {
      throw refuse(fmt::format("the address is no host of {}/{}", to_string(network.network),
                               network.prefix_bits));
    }
    if (lease.address == network.gateway()) throw refuse("that is the gateway's address");
    if (lease.address == network.nameserver()) throw refuse("that is the nameserver's address");
    if (!macs.insert(lease.mac).second) throw refuse("that MAC address has a lease already");
    if (!addresses.insert(lease.address).second) throw refuse("that address is leased already");
  }
  if (const size_t bytes = names.search_wire().size(); bytes > NamesConfig::kSearchBytesMax) {
    throw Error(EX_USAGE, fmt::format("cannot use these search domains: they take {} bytes and {} "
                                      "can be told; name fewer",
                                      bytes, NamesConfig::kSearchBytesMax));
  }
}

}  // namespace netstack
