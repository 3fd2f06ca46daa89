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
#include "netstack/frame/mac.h"
#include "netstack/gateway/gateway_config.h"

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
// addresses set by hand. Whoever may invent MAC addresses can use the pool up, but an address that
// somebody has a live lease for never changes hands.
class LeaseTable {
 public:
  static constexpr size_t kLeasesMax = 4096;                  // on record
  static constexpr size_t kSetAsideMax = 256;                 // addresses; then the oldest returns
  static constexpr ptrdiff_t kSeenPerGuestMax = 4;            // of those, for one guest
  static constexpr uint64_t kOffer_ns = 30 * kSecond_ns;      // an offer is held that long
  static constexpr uint64_t kSetAside_ns = 600 * kSecond_ns;  // an address found in use

  LeaseTable(const GatewayNetwork& network, std::span<const StaticLease> leases);

  // Holds an address for `mac`. Nothing: all are given away.
  std::optional<IpAddress> offer(const Mac& mac, const std::optional<IpAddress>& wish,
                                 uint64_t now_ns);
  // Gives `mac` that very address. False: it is not this guest's to have.
  bool bind(const Mac& mac, const IpAddress& address, uint64_t until_ns, uint64_t now_ns);
  // The guest gives its address back, or found that another machine uses it. False: not its own.
  bool release(const Mac& mac, const IpAddress& address);
  bool set_aside(const Mac& mac, const IpAddress& address, uint64_t now_ns);

  // Whether `mac` could be given that very address.
  bool may_have(const Mac& mac, const IpAddress& address, uint64_t now_ns);
  // Nobody else has the address that is held for `mac`.
  void prove(const Mac& mac);
  // `mac` has the address, by whatever right. What outweighs that: a lease or a proven offer of
  // another's, another that was seen with it before, and that `mac` is seen with too many already.
  void see(const Mac& mac, const IpAddress& address, uint64_t now_ns);

  // Takes note of a guest's name, "" for none. False: another live lease has it.
  bool name(const Mac& mac, std::string_view name, uint64_t now_ns);

  // Nothing known: null. By name, live leases only. Valid until the next change.
  const Lease* find(const Mac& mac) const;
  const Lease* find(const IpAddress& address) const;
  const Lease* find(std::string_view name, uint64_t now_ns) const;

  size_t count() const { return leases_.size(); }
  size_t live_count(uint64_t now_ns) const;
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
  };

  bool in_pool(Number number) const;
  bool may_have(const Mac& mac, Number number, uint64_t now_ns);
  std::optional<Number> choose(const Mac& mac, const std::optional<IpAddress>& wish,
                               uint64_t now_ns);
  std::optional<Number> unused(uint64_t now_ns);
  std::optional<Number> reclaim(uint64_t now_ns);
  bool is_held(Number number, const Mac& by_other_than, uint64_t now_ns) const;
  Lease* hold(const Mac& mac, Number number, uint64_t now_ns);
  void set_end(Lease& lease, uint64_t until_ns, bool bound);
  void drop(const Mac& mac);
  void let_go(const Lease& lease);
  void put_aside(Number number, const Aside& aside);
  bool is_aside(Number number, const Mac& for_other_than) const;
  void return_set_aside(uint64_t now_ns);

  Number first_;
  Number last_;
  Number gateway_;
  Number nameserver_;
  std::map<Mac, Number> static_by_mac_;
  std::map<Number, Mac> static_by_number_;
  std::map<Mac, Lease> leases_;
  std::unordered_map<Number, Mac> by_number_;
  std::unordered_map<std::string, Mac> by_name_;
  std::set<std::pair<uint64_t, Number>> ends_;  // of all leases but the static ones
  std::set<Number> returned_;                   // unused again, below next_
  std::map<Number, Aside> set_aside_;
  Number next_;  // from here on nothing was ever given
};

}  // namespace netstack
