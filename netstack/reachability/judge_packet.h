#pragma once

#include "netstack/reachability/reason.h"

// Reasons that lie in a guest's packet, not in the host.
namespace netstack {

// Its hop limit ended at the gateway.
Reason hop_limit_ended_here();

// It says "don't fragment", has `size` bytes and more than `mtu`. `what` carries no more: "a frame
// of this LAN", "link \"eth0\"".
Reason too_big(bool v6, size_t size, uint32_t mtu, const std::string& what);

// Neither ICMP echo, nor UDP, nor TCP. `target.port` is the protocol's number.
Reason protocol_unsupported(const Target& target);

// A neighbour's address, sent to the gateway.
Reason address_on_lan(const Target& target);

// One of the gateway's own addresses, where nothing is served at the port.
Reason own_port_closed(const Target& target);

}  // namespace netstack
