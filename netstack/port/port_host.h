#pragma once

#include <memory>
#include <string_view>

#include "netstack/frame/port.h"

namespace netstack {

// Who owns the ports that come and go by themselves. Listeners give new ports to it; a port whose
// peer has gone, or misbehaved, asks to be removed.
class PortHost {
 public:
  virtual ~PortHost() = default;
  // Attaches the port to the switch. Null when the LAN is full: the port is already destroyed.
  virtual Port* add(std::unique_ptr<Port> port) = 0;
  // Detaches and destroys the port when the tick is over: it may be in the middle of a burst now.
  // Until then it takes no frames. `why` is a sentence for the log when the peer broke a rule,
  // empty when it simply left. Asking twice is asking once.
  virtual void remove(Port& port, std::string_view why) = 0;
};

}  // namespace netstack
