#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netstack/names/lan_names.h"

namespace netstack {

constexpr size_t kDnsQueryBytesMax = 4096;     // of a guest; a longer one is malformed to us
constexpr uint16_t kDnsUdpBytesDefault = 512;  // of an answer to a query without EDNS, RFC 1035
constexpr uint16_t kDnsUdpBytesMax = 4096;     // whatever EDNS says
constexpr uint32_t kDnsLocalTtl_seconds = 5;   // leases change

// A guest's question, as far as it concerns who answers it.
struct DnsQuery {
  uint8_t refusal = 0;  // a response code: why it cannot be answered; 0: it can
  std::string name;     // lower case, no trailing dot, "." for the root; odd bytes as \DDD
  uint16_t type = 0;
  bool internet = true;                          // of class IN; others are forwarded unseen
  uint16_t udp_bytes_max = kDnsUdpBytesDefault;  // EDNS, RFC 6891 §6.2.3
  bool edns = false;
};

// Reads a guest's message. Nothing: not a query at all, to be dropped. Shape first (one question
// with a plain name, at most an OPT record behind it), libldns then: what it gets has no compressed
// name, so its pointer chasing has nothing to chase.
std::optional<DnsQuery> parse_query(std::span<const uint8_t> message);

// The whole answer to `query` (the guest's message, which parse_query() took) from what the gateway
// knows itself. Authoritative.
std::vector<uint8_t> make_local_answer(std::span<const uint8_t> query, const DnsQuery& parsed,
                                       const LocalAnswer& answer);

}  // namespace netstack
