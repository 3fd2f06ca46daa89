// Who sends, as a port learns it from its switch.
#include <doctest/doctest.h>

#include <vector>

#include "netstack/port/memory_port.h"
#include "netstack/port/shared_port.h"
#include "tests/packets/packets.h"
#include "vlan/switch.h"

using netstack::Frame;
using netstack::MemoryPort;
using netstack::PortId;

namespace {

// A port that asks, with every burst, who sends it.
class Listener final : public netstack::Port {
 public:
  Listener() : Port("listener", netstack::kFrameBytesMax) {}
  PortId sender_now() const { return sender(); }

  std::vector<PortId> senders;

 private:
  size_t transmit(std::span<const Frame> burst) noexcept override {
    senders.push_back(sender());
    return burst.size();
  }
};

}  // namespace

TEST_CASE("a port is told who sends, whatever the frames say, also behind a shared port") {
  netstack::SystemClock clock;
  MemoryPort first("first");
  MemoryPort second("second");
  Listener direct;
  Listener behind;
  netstack::SharedPort shared("shared");
  vlan::Switch bridge(clock, vlan::FdbConfig(1));
  CHECK(direct.sender_now() == 0);  // attached to nothing
  for (netstack::Port* port :
       {static_cast<netstack::Port*>(&first), static_cast<netstack::Port*>(&second),
        static_cast<netstack::Port*>(&direct), static_cast<netstack::Port*>(&shared)}) {
    bridge.attach(*port);
  }
  shared.plug(behind);
  const auto frame = packets::Builder()
                         .eth("52:54:00:00:00:01", "ff:ff:ff:ff:ff:ff")
                         .arp_request("10.0.2.15", "10.0.2.2")
                         .build();
  second.inject(frame);
  first.inject(frame);
  second.inject(frame);
  CHECK(direct.senders == std::vector<PortId>{2, 1, 2});
  CHECK(behind.senders == direct.senders);
  CHECK(direct.sender_now() == 0);  // between bursts: nobody
  shared.unplug(behind);
}
