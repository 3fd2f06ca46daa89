#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netstack/reachability/judge.h"

// Facts written down, for judgements to be tested on.
namespace tests {

using namespace netstack;

inline IpAddress ip(std::string_view text) {
  return *IpAddress::parse(text);
}

inline LinkFact loopback() {
  LinkFact link;
  link.name = "lo";
  link.index = 1;
  link.loopback = link.up = link.carrier = true;
  link.addresses = {{ip("127.0.0.1"), 8, false}, {ip("::1"), 128, false}};
  return link;
}

inline LinkFact ethernet(const std::string& name, std::vector<InterfaceAddress> addresses) {
  LinkFact link;
  link.name = name;
  link.index = 2;
  link.up = link.carrier = true;
  link.addresses = std::move(addresses);
  return link;
}

inline LinkFact down(LinkFact link) {
  link.up = link.carrier = false;
  return link;
}

inline RouteFact refused(int errno_value, std::string route = {}) {
  RouteFact fact;
  fact.known = true;
  fact.errno_value = errno_value;
  fact.refusing_route = std::move(route);
  return fact;
}

inline RouteFact routed(std::string_view router, const std::string& link) {
  RouteFact fact;
  fact.known = true;
  fact.link = link;
  if (!router.empty()) fact.router = ip(router);
  return fact;
}

// A healthy host behind a router, ping permitted.
inline HostFacts healthy(std::string_view destination) {
  HostFacts facts;
  facts.destination = ip(destination);
  facts.route = routed(facts.destination.v6 ? "fd00::1" : "10.1.0.1", "eth0");
  facts.other_family = refused(ENETUNREACH);
  facts.links_known = true;
  facts.links = {loopback(), ethernet("eth0", {{ip("10.1.0.2"), 24, false}})};
  facts.ping.range = GroupRange{0, 2147483647};
  facts.ping.groups = {0};
  facts.resolver.path = "/etc/resolv.conf";
  facts.resolver.nameservers = {{ip("10.1.0.1"), {}}};
  return facts;
}

inline HostFacts only_lo(std::string_view destination = "8.8.8.8") {
  HostFacts facts = healthy(destination);
  facts.route = refused(ENETUNREACH);
  facts.links = {loopback()};
  return facts;
}

inline void close_ping(HostFacts& facts) {
  facts.ping.range = GroupRange{1, 0};
  facts.ping.socket4_errno = facts.ping.socket6_errno = EACCES;
}

inline Target echo(std::string_view address) {
  return {Protocol::kIcmpEcho, ip(address), 0};
}

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace tests
