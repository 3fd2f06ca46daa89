#pragma once

#include "netstack/gateway/icmp_words.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// An ICMP error that came back for a packet of ours, as the socket's error queue gives it
// (IP_RECVERR, ip(7)).
struct PathError {
  IcmpWords words;
  IpAddress offender;   // who sent it: a router, the destination, or this host itself
  int errno_value = 0;  // what the kernel makes of it
};

}  // namespace netstack
