#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/base/clock.h"
#include "netstack/reachability/host_facts.h"
#include "netstack/reachability/path_error.h"

// Probes that send one packet and wait a bounded time for what becomes of it. They block: for
// `lanyard doctor`, never for the gateway's loop.
namespace netstack {

enum class ProbeOutcome : uint8_t {
  kAnswered,
  kSilent,     // nothing came within the time
  kIcmpError,  // an ICMP error came back
  kRefused,    // the host refused: errno_value, syscall
};

struct EchoProbe {
  ProbeOutcome outcome = ProbeOutcome::kSilent;
  uint64_t took_ns = 0;
  int errno_value = 0;
  std::string_view syscall;
  PathError error;  // with kIcmpError
};

// One ICMP echo request through a ping socket. Only the reply from `address` itself to this very
// request counts.
EchoProbe probe_echo(const IpAddress& address, uint64_t timeout_ns, Clock& clock);

struct NameserverProbe {
  ProbeOutcome outcome = ProbeOutcome::kSilent;
  uint64_t took_ns = 0;
  int errno_value = 0;  // ECONNREFUSED: nobody listens there
  std::string_view syscall;
  uint8_t response_code = 0;  // of an answer: 0 no error, 2 server failure, 5 refused (RFC 1035)
};

// One DNS query over UDP port 53: the nameservers of the root, which every server may answer.
NameserverProbe probe_nameserver(const Nameserver& server, uint64_t timeout_ns, Clock& clock);

}  // namespace netstack
