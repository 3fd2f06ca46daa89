#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <vector>

#include "netstack/flows/guest_packet.h"
#include "netstack/frame/mac.h"
#include "netstack/frame/port.h"
#include "netstack/loop/loop.h"

namespace netstack {

// Whether somebody has an address that is about to be leased: RFC 2131 §3.1 step 2, by ARP.
//
// The leases of a switch that was restarted are forgotten, its guests' addresses are not; and some
// guests have theirs by hand. So an address goes to a guest that nobody knows to have it only after
// kWait_ns in which no other has answered for it. The offer waits meanwhile, which a guest does not
// notice among the seconds that it takes to boot; guests that are known are not asked about.
//
// Refused: to offer at once and to refuse the request (NAK) when somebody has answered by then.
// That costs no time, but a guest asks within a millisecond, before one that is busy has answered,
// and clients that are refused wait for seconds before they begin anew.
class AddressProbe {
 public:
  static constexpr uint64_t kWait_ns = 100 * kMillisecond_ns;
  static constexpr size_t kPendingMax = 64;  // beyond them an address is given unasked

  // A guest's DHCP message, which waits for the answer.
  struct Question {
    IpAddress address;
    Mac asker;
    ReturnPath path;
    PortId lan_port;
    std::vector<uint8_t> message;
    int tries = 0;  // addresses that others had
  };
  struct Handler {
    std::function<void(const IpAddress&)> ask;  // the LAN, by ARP
    // `holder`: who has the address; nothing: nobody says so, or the asker itself does.
    std::function<void(const Question&, const std::optional<Mac>& holder)> on_end;
  };

  AddressProbe(Loop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {}
  ~AddressProbe();
  AddressProbe(const AddressProbe&) = delete;
  AddressProbe& operator=(const AddressProbe&) = delete;

  // False: too many are under way. A message of a guest that waits already takes the place of its
  // last one.
  bool begin(Question question);
  // A guest says that it has the address.
  void hear(const IpAddress& address, const Mac& mac);

 private:
  struct Pending {
    Question question;
    Loop::TimerId timer = 0;
  };
  void end(std::list<Pending>::iterator at, const std::optional<Mac>& holder);

  Loop& loop_;
  Handler handler_;
  std::list<Pending> pending_;
};

}  // namespace netstack
