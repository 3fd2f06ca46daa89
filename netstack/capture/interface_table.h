#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netstack/frame/port.h"

namespace netstack {

constexpr uint16_t kCaptureInterfacesMax = 4096;  // the last one stands for all that come after

// The interfaces of a capture: one for each port of the switch, made when it first brings a frame.
// What leaves a port and what takes its place under another name are two interfaces; of several
// endpoints that share a port each is its own. Numbers begin at 0 and stay.
class InterfaceTable {
 public:
  struct Interface {
    std::string name;         // the port's, as the log has it: "gateway", "vde 3 …"
    std::string description;  // which port of the switch it is
  };

  // The loop's side: who is delivering at the moment. Allocates for a new interface only.
  uint16_t number_of(const Port& ingress);

  // Any thread.
  Interface at(uint16_t number) const;

 private:
  using Key = std::pair<PortId, std::string>;
  struct Before {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return a.first != b.first ? a.first < b.first
                                : std::string_view(a.second) < std::string_view(b.second);
    }
  };

  uint16_t make(PortId port, std::string_view name);

  // The loop's. The last one found is looked at first: it is the next one, mostly.
  std::map<Key, uint16_t, Before> numbers_;
  std::map<Key, uint16_t, Before>::const_iterator last_ = numbers_.end();

  mutable std::mutex mutex_;  // held for one entry's copying, and by the loop for a new one only
  std::vector<Interface> interfaces_;
};

}  // namespace netstack
