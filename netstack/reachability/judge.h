#pragma once

#include <optional>
#include <string_view>

#include "netstack/reachability/host_facts.h"
#include "netstack/reachability/path_error.h"
#include "netstack/reachability/probe.h"
#include "netstack/reachability/reason.h"

// Judgements: pure functions from facts to a Reason. Nothing: all is well. They add nothing to the
// facts: what fits no rule is Cause::kUnknown with its errno, and a sign that was not found is not
// mentioned.
namespace netstack {

// The route to `facts.destination`.
std::optional<Reason> judge_route(const HostFacts& facts);

// Whether this process may open a ping socket for the IP version.
std::optional<Reason> judge_ping(const PingFacts& ping, bool v6);

// Whether resolv.conf names a nameserver at all.
std::optional<Reason> judge_resolver(const ResolverFacts& resolver);

// Whether there is a route to a nameserver; `facts.destination` is server.address. The guest asked
// the gateway's DNS address and not the server, so this is a cause of its own.
std::optional<Reason> judge_nameserver_route(const HostFacts& facts, const Nameserver& server);

// Why `errno_value` came back when `target` was tried; `facts.destination` is target.address.
// `syscall` names the call that failed, "sendto", or is empty.
Reason explain(const HostFacts& facts, const Target& target, int errno_value,
               std::string_view syscall);

// What an ICMP error means that came for a packet to `target`, from somebody else or from this host
// itself (its firewall, or a next hop that does not answer).
Reason judge_remote_error(const Target& target, const PathError& error);
Reason judge_local_error(const HostFacts& facts, const Target& target, const PathError& error);

Reason judge_icmp_error(const HostFacts& facts, const Target& target, const PathError& error);

// A connection to `target` was tried for so long without an answer.
Reason judge_timeout(const HostFacts& facts, const Target& target, uint64_t waited_ns);

// A connection to `target` that was open has been given up by the host with `errno_value`.
Reason judge_loss(const HostFacts& facts, const Target& target, int errno_value);

// What TCP sent to `target` has not left this host. Nothing: the next hop may be the reason.
std::optional<Reason> judge_held_back(const HostFacts& facts, const Target& target);

bool is_own_address(const HostFacts& facts, const IpAddress& address);

// What a probe found. The host's own refusals are judged as in explain().
std::optional<Reason> judge_echo(const HostFacts& facts, const EchoProbe& probe);
std::optional<Reason> judge_nameserver(const HostFacts& facts, const Nameserver& server,
                                       const NameserverProbe& probe);

// `fe80::1%eth0`
std::string to_string(const Nameserver& server);

// "8.8.8.8 icmp echo", "8.8.8.8:443 tcp", "[2001:db8::1]:53 udp"
std::string to_string(const Target& target);

}  // namespace netstack
