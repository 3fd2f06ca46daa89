#pragma once

#include <functional>
#include <memory>

#include "netstack/base/log.h"
#include "netstack/loop/loop.h"
#include "netstack/port/port_host.h"

namespace tools {

// Makes one end of the cable. Throws Error.
using MakePort = std::function<std::unique_ptr<netstack::Port>(netstack::Loop&, netstack::PortHost&,
                                                               netstack::Log&)>;

// The other end: plugs into a LAN. Gives up when `give_up_fd` becomes readable. Throws Error.
using MakePlug = std::function<std::unique_ptr<netstack::Port>(netstack::Loop&, netstack::PortHost&,
                                                               int give_up_fd)>;

// A cable between a LAN that runs elsewhere and one thing here, until a signal, or until either end
// is over. `ours` is made after `lan` has plugged in; `on_ready` is called when both are there.
// Signals are held back from the beginning, so that whatever was made on this machine is taken away
// again.
//
// Returns the exit status: EX_OK for a signal and for a LAN that ended (a line says so),
// EX_UNAVAILABLE when our own end broke. Throws what the makers throw.
int run_plug_session(netstack::Log& log, const MakePlug& lan, const MakePort& ours,
                     const std::function<void()>& on_ready);

}  // namespace tools
