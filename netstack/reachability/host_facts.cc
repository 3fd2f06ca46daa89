// Facts are gathered here and judged in judge.cc, so that a judgement can be tested by writing the
// facts down. Gathering needs no privilege and sends nothing beyond this machine.
//
// Whether ping is permitted is found by opening a ping socket and closing it again, not by
// comparing ids: the kernel's own answer stays right under seccomp, security modules and user
// namespaces. ping_group_range and our groups are read to say why.

#include "netstack/reachability/host_facts.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <limits>

#include "netstack/base/fd.h"
#include "netstack/base/number.h"
#include "netstack/reachability/route_query.h"

namespace netstack {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
  text.remove_prefix(word.size());
  return word;
}

std::optional<Nameserver> parse_nameserver(std::string_view word) {
  const size_t percent = word.find('%');
  const auto address = IpAddress::parse(word.substr(0, percent));
  if (!address) return std::nullopt;
  Nameserver server{*address, {}};
  if (percent != std::string_view::npos) server.scope = word.substr(percent + 1);
  return server;
}

// The first kResolvConfSizeMax bytes of a file; the errno in `errno_value` when it cannot be read.
std::string read_text(const std::string& path, int& errno_value) {
  errno_value = 0;
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string text;
  std::array<char, 4096> part{};
  while (file && text.size() < kResolvConfSizeMax) {
    const ssize_t size = ::read(file.get(), part.data(), part.size());
    if (size == 0) return text;
    if (size < 0) break;
    text.append(part.data(), static_cast<size_t>(size));
  }
  if (text.size() < kResolvConfSizeMax) errno_value = errno;
  return text;
}

int ping_socket_errno(int family, int protocol) {
  const Fd socket(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, protocol));
  return socket ? 0 : errno;
}

std::vector<uint32_t> own_groups() {
  std::vector<uint32_t> groups{::getegid()};
  const int count = ::getgroups(0, nullptr);
  if (count <= 0) return groups;
  std::vector<gid_t> extra(static_cast<size_t>(count));
  const int filled = ::getgroups(count, extra.data());
  for (int at = 0; at < filled; ++at) {
    const gid_t group = extra[static_cast<size_t>(at)];
    if (group != groups.front()) groups.push_back(group);
  }
  return groups;
}

NixFacts gather_nix(const HostSources& sources) {
  const auto get = [&](const char* name) {
    return sources.environment ? sources.environment(name) : std::getenv(name);
  };
  const char* home = get("HOME");
  NixFacts nix;
  nix.build_top = get("NIX_BUILD_TOP") != nullptr;
  nix.sandbox_home = get("NIX_STORE") != nullptr && home != nullptr &&
                     std::string_view(home) == "/homeless-shelter";
  nix.output_checked = get("NIX_OUTPUT_CHECKED") != nullptr;
  return nix;
}

constexpr std::array kProxyVariables{"https_proxy", "HTTPS_PROXY", "http_proxy",
                                     "HTTP_PROXY",  "all_proxy",   "ALL_PROXY"};
constexpr size_t kProxyServerSizeMax = 100;

ProxyFact gather_proxy(const HostSources& sources) {
  for (const char* name : kProxyVariables) {
    const char* value = sources.environment ? sources.environment(name) : std::getenv(name);
    if (value != nullptr && *value != '\0') return parse_proxy(name, value);
  }
  return {};
}

uint64_t descriptor_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? uint64_t{limit.rlim_cur} : 0;
}

}  // namespace

// http://user:password@proxy.example:3128/ names proxy.example:3128.
ProxyFact parse_proxy(std::string_view variable, std::string_view value) {
  if (const size_t scheme = value.find("://"); scheme != std::string_view::npos) {
    value.remove_prefix(scheme + 3);
  }
  value = value.substr(0, value.find_first_of("/?#"));
  if (const size_t at = value.rfind('@'); at != std::string_view::npos) value.remove_prefix(at + 1);
  ProxyFact proxy{std::string(variable), std::string(value.substr(0, kProxyServerSizeMax)), false};
  for (char& c : proxy.server) {
    if (c <= ' ' || c > '~' || c == '"') c = '?';
  }
  proxy.local =
      value.starts_with("127.") || value.starts_with("localhost") || value.starts_with("[::1]");
  return proxy;
}

IpAddress internet_example(bool v6) {
  static const IpAddress kExample4 = *IpAddress::parse("8.8.8.8");
  static const IpAddress kExample6 = *IpAddress::parse("2001:4860:4860::8888");
  return v6 ? kExample6 : kExample4;
}

std::vector<Nameserver> parse_resolv_conf(std::string_view text) {
  std::vector<Nameserver> servers;
  while (!text.empty() && servers.size() < kNameserverCountMax) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const bool at_start = !line.empty() && kBlanks.find(line.front()) == std::string_view::npos;
    if (!at_start || next_word(line) != "nameserver") continue;
    if (auto server = parse_nameserver(next_word(line))) servers.push_back(std::move(*server));
  }
  return servers;
}

std::optional<GroupRange> parse_group_range(std::string_view text) {
  const auto low = parse_number<uint32_t>(next_word(text));
  const auto high = parse_number<uint32_t>(next_word(text));
  if (!low || !high) return std::nullopt;
  return GroupRange{*low, *high};
}

// Lines of "first-inside first-outside count"; the whole range is one line from 0.
bool maps_every_group(std::string_view gid_map) {
  const auto first = parse_number<uint32_t>(next_word(gid_map));
  next_word(gid_map);
  const auto count = parse_number<uint32_t>(next_word(gid_map));
  return first == 0U && count == std::numeric_limits<uint32_t>::max();
}

ResolverFacts gather_resolver(const HostSources& sources) {
  ResolverFacts resolver;
  resolver.path = sources.resolv_conf;
  resolver.nameservers = parse_resolv_conf(read_text(resolver.path, resolver.errno_value));
  return resolver;
}

PingFacts gather_ping(const HostSources& sources) {
  PingFacts ping;
  ping.socket4_errno = ping_socket_errno(AF_INET, IPPROTO_ICMP);
  ping.socket6_errno = ping_socket_errno(AF_INET6, IPPROTO_ICMPV6);
  int unreadable = 0;
  ping.range = parse_group_range(read_text(sources.ping_group_range, unreadable));
  ping.groups = own_groups();
  const std::string gid_map = read_text(sources.gid_map, unreadable);
  ping.every_group_mapped = unreadable != 0 || maps_every_group(gid_map);
  return ping;
}

HostFacts gather_facts(RouteQuery& query, const HostSources& sources,
                       const IpAddress& destination) {
  HostFacts facts;
  facts.destination = destination;
  facts.route = query.lookup(destination);
  facts.other_family = query.lookup(internet_example(!destination.v6));
  if (facts.route.known && facts.route.errno_value == 0) {
    facts.route.neighbour = query.neighbour(facts.route, destination);
  }
  facts.links_known = query.links(facts.links);
  facts.ping = gather_ping(sources);
  facts.nix = gather_nix(sources);
  facts.proxy = gather_proxy(sources);
  facts.descriptors_max = descriptor_limit();
  facts.resolver = gather_resolver(sources);
  return facts;
}

}  // namespace netstack
