#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/reachability/host_facts.h"
#include "netstack/reachability/path_error.h"
#include "netstack/reachability/reason.h"

namespace netstack {

struct RouteVerdict {
  std::optional<Reason> reason = {};  // nothing: the kernel has a route
  uint32_t mtu = 0;                   // of an IP packet on that route; 0: unknown
  std::string link = {};              // where it leaves
};

// Says why the host would not, or did not, carry a packet. Asks the kernel by rtnetlink (libmnl),
// needs no privilege and sends nothing. Facts are read when needed and never kept: a route added a
// moment ago counts.
class Reachability {
 public:
  // Throws Error when the kernel gives no rtnetlink socket.
  explicit Reachability(HostSources sources = {});
  ~Reachability();
  Reachability(const Reachability&) = delete;
  Reachability& operator=(const Reachability&) = delete;

  // Looks up the route. Two netlink round trips when all is well.
  RouteVerdict judge_route(const IpAddress& destination);

  // Whether the host permits ping sockets of the IP version.
  std::optional<Reason> judge_ping(bool v6);

  // Why `errno_value` came back when `target` was tried. `syscall`, "sendto" say, is named when the
  // facts do not explain it.
  Reason explain(const Target& target, int errno_value, std::string_view syscall = {});

  // What the ICMP error means that came for a packet to `target`.
  Reason explain(const Target& target, const PathError& error);

  // A connection to `target` was tried for so long without an answer.
  Reason explain_timeout(const Target& target, uint64_t waited_ns);

  // Why the kernel gave up a connection to `target` that was open.
  Reason explain_loss(const Target& target, int errno_value);

  // Why the kernel's own retransmissions to `target` do not leave. Nothing: it is no firewall.
  std::optional<Reason> explain_held_back(const Target& target);

  // The nameservers of resolv.conf, judged without sending: a reason when none is named or none of
  // them has a route (then it is that of the first).
  std::optional<Reason> judge_nameservers();

  // All that is known about one destination, for those who judge more than this class does.
  HostFacts facts(const IpAddress& destination);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// "10.0.2.15 → 8.8.8.8 icmp echo: no route: <fact>. The guest is told "Destination Net
// Unreachable". Try: <cure>." — the one line of the log. `told` stands for the ICMP error's phrase
// where the guest gets another answer; "nothing" is not quoted.
std::string explain_line(const IpAddress& guest, const Target& target, const Reason& reason,
                         std::string_view told = {});

}  // namespace netstack
