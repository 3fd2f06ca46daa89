// Why no nameserver answered, for the guest and for the log.
//
// A resolver takes "port unreachable" for final and gives up at once, so that is what a guest gets
// by UDP where nobody can be asked: no nameserver is named, none has a route, none listens. Where
// something may yet change (silence, a firewall's refusal), and always by TCP, it gets SERVFAIL.
#include "netstack/base/check.h"
#include "netstack/gateway/gateway.h"
#include "netstack/reachability/judge.h"
#include "netstack/wire/icmp.h"

namespace netstack {

// True: told by ICMP.
bool Gateway::on_query_failure(const DnsClient& client, std::span<const uint8_t> query,
                               const DnsFailure& failure) {
  const bool v6 = client.asked.v6;
  const Target target{client.over_tcp() ? Protocol::kTcp : Protocol::kUdp, client.asked, kPortDns};
  const Reason reason = explain_query(failure);
  note_question(client, query, FlowState::kUnreachable, reason.cause);
  const IcmpAnswer& answer = cause_row(reason.cause).answer;
  const bool by_icmp = !client.over_tcp() && answer.code4 == kCodePort;
  const std::string note = reasons_.tell(client.guest, target, reason, by_icmp ? "" : "SERVFAIL");
  if (!by_icmp) return false;
  if (!client.quoted.empty()) {
    stage_packet(
        client.path,
        make_icmp_error(client.asked, client.guest, v6 ? kIcmpv6Unreachable : kIcmpUnreachable,
                        v6 ? answer.code6 : answer.code4, 0, client.quoted),
        note);
  }
  return true;
}

Reason Gateway::explain_query(const DnsFailure& failure) {
  if (!failure.server) {
    if (const auto& reason = verdicts_.judge_nameservers(loop_.clock().monotonic_ns())) {
      return *reason;
    }
    // The file has changed within the time that verdict counts.
    if (auto reason = reachability_.judge_nameservers()) return std::move(*reason);
    return {Cause::kUnknown, 0, "the nameservers changed while the question was under way", ""};
  }
  const Nameserver server{failure.server->address, failure.server->scope};
  HostFacts facts = reachability_.facts(server.address);
  facts.resolver.path = failure.server->origin;  // the name the sentences give to their source
  NameserverProbe probe;
  probe.outcome = failure.errno_value == 0 ? ProbeOutcome::kSilent : ProbeOutcome::kRefused;
  probe.errno_value = failure.errno_value;
  probe.took_ns = failure.waited_ns;
  if (failure.errno_value != 0) {
    auto unrouted = judge_nameserver_route(facts, server);
    if (unrouted && unrouted->errno_value == failure.errno_value) return std::move(*unrouted);
  }
  auto reason = judge_nameserver(facts, server, probe);
  check(reason.has_value(), "a failure has a reason");
  return std::move(*reason);
}

}  // namespace netstack
