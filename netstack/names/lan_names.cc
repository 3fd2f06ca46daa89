#include "netstack/names/lan_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "netstack/config/host_name.h"
#include "netstack/wire/dns.h"

namespace netstack {

namespace {

constexpr uint16_t kTypePtr = 12;  // RFC 1035 §3.2.2
constexpr uint16_t kTypeAny = 255;
constexpr std::string_view kReverseZone4 = "in-addr.arpa";
constexpr std::string_view kReverseZone6 = "ip6.arpa";

bool has_type(const IpAddress& address, uint16_t type) {
  return type == kTypeAny ||
         type == static_cast<uint16_t>(address.v6 ? DnsType::kAaaa : DnsType::kA);
}

}  // namespace

LanNames::LanNames(const GatewayConfig& config, const LeaseTable& leases)
    : network_(config.network), ipv6_(config.ipv6), names_(config.names), leases_(leases) {}

std::optional<LocalAnswer> LanNames::lookup(std::string_view name, uint16_t type,
                                            uint64_t now_ns) const {
  if (const auto address = address_of_reverse_name(name)) {
    return lookup_reverse(*address, type, now_ns);
  }
  const std::string& domain = names_.domain;
  const bool inside = !domain.empty() && is_within(name, domain);
  LocalAnswer answer;
  const std::vector<IpAddress> addresses = addresses_of(name, now_ns);
  if (!addresses.empty()) {
    std::ranges::copy_if(addresses, std::back_inserter(answer.addresses),
                         [&](const IpAddress& address) { return has_type(address, type); });
    answer.zone = inside ? domain : std::string(name);
    return answer;
  }
  if (!inside || !zone_servers(name).empty()) return std::nullopt;
  answer.zone = domain;
  answer.rcode = name == domain ? kDnsNoError : kDnsNameError;
  return answer;
}

std::optional<LocalAnswer> LanNames::lookup_reverse(const IpAddress& address, uint16_t type,
                                                    uint64_t now_ns) const {
  LocalAnswer answer;
  answer.zone = address.v6 ? kReverseZone6 : kReverseZone4;
  const std::vector<std::string> names = names_of(address, now_ns);
  const bool own = address.v6 ? std::equal(address.octets.begin(), address.octets.begin() + 8,
                                           GatewayNetwork::prefix6().octets.begin())
                              : network_.contains(address);
  if (names.empty() && !own) return std::nullopt;
  if (names.empty()) answer.rcode = kDnsNameError;
  if (type == kTypePtr || type == kTypeAny) answer.names = names;
  return answer;
}

std::vector<IpAddress> LanNames::addresses_of(std::string_view name, uint64_t now_ns) const {
  std::vector<IpAddress> addresses;
  for (const HostEntry& host : names_.hosts) {
    const bool plain = host.name.find('.') == std::string::npos;
    if (host.name == name || (plain && with_domain(host.name) == name)) {
      addresses.push_back(host.address);
    }
  }
  if (!addresses.empty()) return addresses;

  std::string_view label = name;
  if (!names_.domain.empty() && name.size() > names_.domain.size() &&
      is_within(name, names_.domain)) {
    label = name.substr(0, name.size() - names_.domain.size() - 1);
  }
  if (label == kGatewayName) {
    addresses.push_back(network_.gateway());
    if (ipv6_) addresses.push_back(GatewayNetwork::gateway6());
  } else if (const Lease* lease = leases_.find(label, now_ns)) {
    addresses.push_back(lease->address);
  }
  return addresses;
}

std::vector<std::string> LanNames::names_of(const IpAddress& address, uint64_t now_ns) const {
  std::vector<std::string> names;
  for (const HostEntry& host : names_.hosts) {
    if (host.address != address) continue;
    const bool plain = host.name.find('.') == std::string::npos;
    names.push_back(plain ? with_domain(host.name) : host.name);
  }
  if (!names.empty()) return names;
  if (address == network_.gateway() || (ipv6_ && address == GatewayNetwork::gateway6())) {
    names.push_back(with_domain(kGatewayName));
  } else if (const Lease* lease = leases_.find(address);
             lease != nullptr && lease->live(now_ns) && !lease->name.empty()) {
    names.push_back(with_domain(lease->name));
  }
  return names;
}

std::string LanNames::with_domain(std::string_view name) const {
  return names_.domain.empty() ? std::string(name) : fmt::format("{}.{}", name, names_.domain);
}

std::vector<DnsServer> LanNames::zone_servers(std::string_view name) const {
  const auto length = [](const DnsZone& zone) {  // "." fits all, and less well than any other
    return zone.suffix == "." ? size_t{0} : zone.suffix.size();
  };
  size_t longest = 0;
  for (const DnsZone& zone : names_.zones) {
    if (is_within(name, zone.suffix)) longest = std::max(longest, length(zone));
  }
  std::vector<DnsServer> servers;
  for (const DnsZone& zone : names_.zones) {
    if (length(zone) == longest && is_within(name, zone.suffix)) servers.push_back(zone.server);
  }
  return servers;
}

}  // namespace netstack
