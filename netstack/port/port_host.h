#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/frame/port.h"
#include "netstack/port/egress_budget.h"

namespace netstack {

// What a plug says of itself and asks for, before it is let in.
struct PlugRequest {
  PortId port_number = 0;           // 0: any
  bool management = false;          // asks for the management port, which is number 0
  std::optional<uid_t> owner = {};  // the peer process's user, from the kernel; empty: unknown
  int endpoint_id = -1;             // names this plug among those of its port; -1: the host chooses
  std::string module = {};          // how it is attached, for listings; empty: the port's name says
  std::string description = {};     // the peer's own words
};

// The host's answer.
struct PortChoice {
  std::optional<PortId> number;  // empty: the host does not number its ports
  std::string refusal;           // not empty: the plug is turned away, and this is why
};

// Who owns the ports that come and go by themselves. Listeners give new ports to it; a port whose
// peer has gone, or misbehaved, asks to be removed.
class PortHost {
 public:
  virtual ~PortHost() = default;
  // Which port number such a plug would get. Nothing is held: what happens between this call and
  // add_plug() may change the answer.
  virtual PortChoice choose(const PlugRequest&) { return {}; }
  // Attaches the port to the switch. Null when the LAN is full: the port is already destroyed.
  virtual Port* add(std::unique_ptr<Port> port) = 0;
  // The same for a plug that asked for something. Null: refused, and the port destroyed.
  virtual Port* add_plug(std::unique_ptr<Port> port, const PlugRequest&) {
    return add(std::move(port));
  }
  // Detaches and destroys the port when the tick is over: it may be in the middle of a burst now.
  // Until then it takes no frames. `why` is a sentence for the log when the peer broke a rule,
  // empty when it simply left. Asking twice is asking once.
  virtual void remove(Port& port, std::string_view why) = 0;

  // Shared by the ports that it owns.
  EgressBudget& egress_budget() { return egress_budget_; }

 private:
  EgressBudget egress_budget_;
};

}  // namespace netstack
