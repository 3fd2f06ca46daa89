#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "netstack/base/clock.h"
#include "netstack/config/gateway_config.h"
#include "netstack/flows/flow_account.h"
#include "netstack/frame/mac.h"
#include "netstack/frame/port.h"

namespace netstack {

// What one guest has been given. A lease that ended stays on record, so that the guest gets the
// same address again, until somebody else needs the address.
struct Lease {
  Mac mac;
  IpAddress address;
  std::string name;       // as the guest calls itself: a host_label(); often empty
  uint64_t until_ns = 0;  // of Clock::monotonic_ns
  bool bound = false;     // acknowledged; false: offered only, or given back
  bool proven = false;    // nobody else has the address, as far as anybody says
  PortId lan_port = 0;    // of the switch, where the guest asked last; 0: nobody says, or it left
  bool taken = false;     // from the pool, and counted for that port; false: others may get it

  bool live(uint64_t now_ns) const { return bound && now_ns < until_ns; }
};

// Which guest has which address: by MAC, so that a guest that starts anew finds its address again.
//
//   static lease > the address it had > the one it wishes > the one it was seen with >
//   the next unused > the longest ended
//
// An address that a guest was seen with and has no lease for is kept for that guest a while: it was
// set by hand, or leased before this table began.
//
// The pool reaches from the first lease to the network's last host; what is below is left to
// addresses set by hand. A guest may invent MAC addresses but cannot leave its port, so the pool is
// shared out as flows are (FlowAccount): a port of the switch may have three times as many as are
// free. Whatever is not free counts: leases, offers, addresses set aside. One port alone gets three
// quarters; where nobody says which port it is, all. Whoever has an address already keeps it, and
// an address that somebody has a live lease for changes hands only when the guest's port has been
// left and nothing else is left either.
class LeaseTable {
 public:
  static constexpr size_t kLeasesMax = 4096;                  // on record, beside static ones
  static constexpr size_t kShare = FlowAccount::kShare;       // times what is free, for one port
  static constexpr size_t kSetAsideMax = 256;                 // addresses; then the oldest returns
  static constexpr ptrdiff_t kSeenPerGuestMax = 4;            // of those, for one guest
  static constexpr uint64_t kOffer_ns = 30 * kSecond_ns;      // an offer is held that long
  static constexpr uint64_t kSetAside_ns = 600 * kSecond_ns;  // an address found in use

  LeaseTable(const GatewayNetwork& network, std::span<const StaticLease> leases);

  // `lan_port`: of the switch, from which it is said; 0: nobody knows.

  // Holds an address for `mac`. Nothing: all are given away, or its port has its share.
  std::optional<IpAddress> offer(const Mac& mac, const std::optional<IpAddress>& wish,
                                 uint64_t now_ns, PortId lan_port);
  // Gives `mac` that very address. False: it is not this guest's to have, or as above.
  bool bind(const Mac& mac, const IpAddress& address, uint64_t until_ns, uint64_t now_ns,
            PortId lan_port);
  // The guest gives its address back, or found that another machine uses it. False: not its own.
  bool release(const Mac& mac, const IpAddress& address);
  bool set_aside(const Mac& mac, const IpAddress& address, uint64_t now_ns);

  // Whether `mac` could be given that very address.
  bool may_have(const Mac& mac, const IpAddress& address, uint64_t now_ns);
  // Nobody else has the address that is held for `mac`.
  void prove(const Mac& mac);
  // `mac` has the address, by whatever right. What outweighs that: a lease or a proven offer of
  // another's, another that was seen with it before, and that `mac` is seen with too many already
  // or its port has its share.
  void see(const Mac& mac, const IpAddress& address, uint64_t now_ns, PortId lan_port);
  // Nobody is at that port any more: what its guests had goes to others, once nothing else is left.
  void leave(PortId lan_port);

  // Takes note of a guest's name, "" for none. False: another live lease has it.
  bool name(const Mac& mac, std::string_view name, uint64_t now_ns);

  // Nothing known: null. By name, live leases only. Valid until the next change.
  const Lease* find(const Mac& mac) const;
  const Lease* find(const IpAddress& address) const;
  const Lease* find(std::string_view name, uint64_t now_ns) const;

  size_t count() const { return leases_.size(); }
  size_t live_count(uint64_t now_ns) const;
  // As they were when last something was asked for.
  size_t pool_count() const { return pool_count_; }
  size_t free_count() const;
  size_t taken_count(PortId lan_port) const;
  bool has_its_share(PortId lan_port) const;
  template <typename Visit>
  void for_each(Visit visit) const {  // by MAC
    for (const auto& [mac, lease] : leases_) visit(lease);
  }

 private:
  using Number = uint32_t;  // an IPv4 address in host order
  // An address that is not given away for now.
  struct Aside {
    uint64_t until_ns;
    Mac user;  // who was seen with it and may have it; Mac{}: nobody
    PortId lan_port;
  };

  bool in_pool(Number number) const;
  bool may_have(const Mac& mac, Number number, uint64_t now_ns);
  std::optional<Number> choose(const Mac& mac, const std::optional<IpAddress>& wish,
                               uint64_t now_ns);
  std::optional<Number> unused();
  std::optional<Number> reclaim();
  std::optional<Number> has_already(const Mac& mac) const;
  bool is_held(Number number, const Mac& by_other_than, uint64_t now_ns) const;
  Lease* hold(const Mac& mac, Number number);
  void take(Lease& lease, uint64_t until_ns, bool bound, PortId lan_port);
  void list(Lease& lease, bool taken);
  void unlist(Lease& lease);
  void uncount(PortId lan_port);
  void settle(uint64_t now_ns);
  void drop(const Mac& mac);
  void let_go(const Lease& lease);
  void put_aside(Number number, const Aside& aside);
  bool is_aside(Number number, const Mac& for_other_than) const;
  using Asides = std::map<Number, Aside>;
  Asides::iterator end_aside(Asides::iterator at);

  Number first_;
  Number last_;
  Number gateway_;
  Number nameserver_;
  std::map<Mac, Number> static_by_mac_;
  std::map<Number, Mac> static_by_number_;
  std::map<Mac, Lease> leases_;
  std::unordered_map<Number, Mac> by_number_;
  std::unordered_map<std::string, Mac> by_name_;
  // When they end, of all leases but the static ones: those that are taken, and the others.
  std::set<std::pair<uint64_t, Number>> taken_;
  std::set<std::pair<uint64_t, Number>> spare_;
  std::unordered_map<PortId, size_t> taken_by_port_;  // with those set aside
  size_t pool_count_;                                 // of addresses to give away
  std::set<Number> returned_;                         // unused again, below next_
  Asides set_aside_;
  Number next_;  // from here on nothing was ever given
};

}  // namespace netstack
