#pragma once

#include <optional>

#include "netstack/reachability/icmp_words.h"
#include "netstack/wire/ip_address.h"

struct sock_extended_err;  // linux/errqueue.h

namespace netstack {

// An ICMP error that came back for a packet of ours, as the socket's error queue gives it
// (IP_RECVERR, ip(7)).
struct PathError {
  IcmpWords words;
  IpAddress offender;   // who sent it: a router, the destination, or this host itself
  int errno_value = 0;  // what the kernel makes of it
};

// What one entry of an error queue says of a packet. Nothing: it is no ICMP error.
std::optional<PathError> read_path_error(const sock_extended_err& error, bool v6);

// The next one off the error queue of a socket with IP_RECVERR. Nothing: there is none, or the next
// entry is no ICMP error.
std::optional<PathError> take_path_error(int fd, bool v6);

}  // namespace netstack
