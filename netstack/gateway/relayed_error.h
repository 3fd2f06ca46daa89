#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/flows/guest_packet.h"
#include "netstack/reachability/icmp_words.h"
#include "netstack/reachability/reason.h"

namespace netstack {

// An ICMP error on its way, and the TCP or UDP packet it quotes.
struct RelayedError {
  ReturnPath path;
  IpAddress sender;
  IpAddress guest;  // whom it is for
  IcmpWords words;
  std::span<const uint8_t> quoted;
  IpAddress quoted_source;
  Target target;  // where the quoted packet was going
};

// Nothing: no ICMP error, or one about something else.
std::optional<RelayedError> parse_relayed_error(const GuestPacket& packet);

}  // namespace netstack
