#pragma once

#include "tools/doctor/finding.h"
#include "tools/doctor/lan_sight.h"

// Questions about a running LAN, one function and one file each. They judge what was seen and ask
// nobody. Each gives one finding for each trouble, or one that says that there is none, or that it
// could not be looked for.
namespace tools {

constexpr double kRecent_s = 300;  // as long as the switch remembers a station

// no-lease: a guest that sends has neither a lease nor an address of the network.
Findings check_leases(const LanSight& lan);

// no-guest-route: a guest looks by ARP for what is beyond the network.
Findings check_guest_routes(const LanSight& lan);

// wrong-vlan: a guest speaks to the gateway, or at all, only in a VLAN the gateway is not in.
Findings check_vlans(const LanSight& lan);

// duplicate-mac: a station moves to and fro between ports.
Findings check_macs(const LanSight& lan);

// duplicate-ip: two MAC addresses claim one IP address by turns.
Findings check_ips(const LanSight& lan);

// Frames that come back: a loop between ports.
Findings check_loops(const LanSight& lan);

// plug-dead: frames wait and are not taken, a guest's driver is not up, or a plug never sends.
Findings check_plugs(const LanVisit& visit);

// Frames lost, by port and reason; receivers that do not keep up.
Findings check_drops(const LanVisit& visit);

// Frames longer than a port, or the network, takes.
Findings check_mtu(const LanSight& lan);

// Forwards whose guest does not answer: nobody listens there, or there is no guest.
Findings check_forwards(const LanSight& lan);

// Guests none of whose flows comes through.
Findings check_flows(const LanSight& lan);

// What guests were told of late, with the cause of each.
Findings check_reasons(const LanSight& lan);

// Captures that miss frames: a full disk, a reader that stopped.
Findings check_captures(const LanSight& lan);

// Whether the switch has locked itself in.
Findings check_lock(const LanSight& lan);

Findings check_lan(const LanVisit& visit);  // all of them, in the order above

}  // namespace tools
