#pragma once

#include <cstdint>
#include <string>

#include "netstack/wire/icmp.h"

namespace netstack {

// RFC 792, RFC 1812 §5.2.7.1: codes of "destination unreachable".
constexpr uint8_t kCodeNet = 0;
constexpr uint8_t kCodeHost = 1;
constexpr uint8_t kCodeProtocol = 2;
constexpr uint8_t kCodePort = 3;
constexpr uint8_t kCodeFragmentationNeeded = 4;
constexpr uint8_t kCodeNetProhibited = 9;
constexpr uint8_t kCodeHostProhibited = 10;
constexpr uint8_t kCodeProhibited = 13;
// RFC 4443 §3.1; the last is a code of "parameter problem", §3.4.
constexpr uint8_t kCodeNoRoute6 = 0;
constexpr uint8_t kCodeProhibited6 = 1;
constexpr uint8_t kCodeAddress6 = 3;
constexpr uint8_t kCodePort6 = 4;
constexpr uint8_t kCodeSourcePolicy6 = 5;
constexpr uint8_t kCodeRejectRoute6 = 6;
constexpr uint8_t kCodeUnknownNextHeader6 = 1;

// What an ICMP error says.
struct IcmpWords {
  uint8_t type = 0;
  uint8_t code = 0;
  uint32_t rest = 0;  // the header's second word: the MTU of "too big", a pointer, or 0

  bool operator==(const IcmpWords&) const = default;
};

// What iputils' ping, the ping of most guests, prints for it: "Destination Net Unreachable".
std::string icmp_phrase(bool v6, const IcmpWords& words);

// The words for a packet that is bigger than `mtu` bytes.
IcmpWords too_big_words(bool v6, uint32_t mtu);

// "fragmentation needed" of IPv4, "packet too big" of IPv6: `rest` holds the MTU.
bool is_too_big(bool v6, const IcmpWords& words);
bool is_time_exceeded(bool v6, const IcmpWords& words);
bool is_port_unreachable(bool v6, const IcmpWords& words);
// Somebody decided so: codes 9, 10 and 13; IPv6 1, 5 and 6.
bool is_prohibited(bool v6, const IcmpWords& words);
// Nobody answers for the address: code 1; IPv6 3.
bool is_host_unreachable(bool v6, const IcmpWords& words);

}  // namespace netstack
