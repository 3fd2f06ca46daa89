#pragma once

#include <optional>
#include <string>

#include "netstack/base/clock.h"
#include "netstack/reachability/reachability.h"
#include "tools/doctor/finding.h"

namespace tools {

// Whether a guest behind the gateway would reach something, judged without a guest. The checks
// stand in the order in which things must work, so the first problem is the one to cure first.
struct Outlook {
  std::string to;  // empty: the Internet
  Findings checks;

  const Finding* failing() const { return first_problem(checks); }
};

// Routes for both IP versions (IPv6 does not decide), ping sockets, and the nameservers of
// resolv.conf, of which one must do. Sends nothing, unless `asks_nameservers`: then each gets one
// DNS query and 2 s for its answer.
Outlook judge_internet(netstack::Reachability& reachability, netstack::Clock& clock,
                       bool asks_nameservers);

// The route to the address, ping sockets, and then one echo request and 2 s for its reply.
Outlook judge_address(netstack::Reachability& reachability, const netstack::IpAddress& address,
                      netstack::Clock& clock);

}  // namespace tools
