#include "netstack/names/lease_table.h"

#include <algorithm>

namespace netstack {

LeaseTable::LeaseTable(const GatewayNetwork& network, std::span<const StaticLease> leases)
    : first_(network.first_lease().v4_bits()),
      last_((network.network.v4_bits() | ~network.netmask()) - 1),
      gateway_(network.gateway().v4_bits()),
      nameserver_(network.nameserver().v4_bits()),
      next_(first_) {
  for (const StaticLease& lease : leases) {
    static_by_mac_[lease.mac] = lease.address.v4_bits();
    static_by_number_[lease.address.v4_bits()] = lease.mac;
  }
  const auto inside = [&](Number number) { return number >= first_ && number <= last_; };
  size_t others = 0;
  for (const Number number : {gateway_, nameserver_}) {
    if (inside(number) && !static_by_number_.contains(number)) ++others;
  }
  for (const auto& [number, mac] : static_by_number_) others += inside(number) ? 1 : 0;
  const size_t all = first_ <= last_ ? size_t{last_} - first_ + 1 : 0;
  pool_count_ = std::min(all - std::min(all, others), kLeasesMax);
}

bool LeaseTable::in_pool(Number number) const {
  return number >= first_ && number <= last_ && number != gateway_ && number != nameserver_ &&
         !static_by_number_.contains(number);
}

// Whether somebody else has a right to the address for now, by a lease or by an offer.
bool LeaseTable::is_held(Number number, const Mac& by_other_than, uint64_t now_ns) const {
  const auto owner = by_number_.find(number);
  if (owner == by_number_.end() || owner->second == by_other_than) return false;
  return leases_.at(owner->second).until_ns > now_ns;
}

bool LeaseTable::may_have(const Mac& mac, Number number, uint64_t now_ns) {
  if (const auto fixed = static_by_mac_.find(mac); fixed != static_by_mac_.end()) {
    return fixed->second == number;
  }
  return in_pool(number) && !is_aside(number, mac) && !is_held(number, mac, now_ns);
}

bool LeaseTable::may_have(const Mac& mac, const IpAddress& address, uint64_t now_ns) {
  settle(now_ns);
  return !address.v6 && may_have(mac, address.v4_bits(), now_ns);
}

bool LeaseTable::is_aside(Number number, const Mac& for_other_than) const {
  const auto found = set_aside_.find(number);
  return found != set_aside_.end() &&
         (found->second.user == Mac{} || found->second.user != for_other_than);
}

std::optional<LeaseTable::Number> LeaseTable::choose(const Mac& mac,
                                                     const std::optional<IpAddress>& wish,
                                                     uint64_t now_ns) {
  if (const auto fixed = static_by_mac_.find(mac); fixed != static_by_mac_.end()) {
    return fixed->second;
  }
  if (const auto had = leases_.find(mac); had != leases_.end()) {
    return had->second.address.v4_bits();
  }
  if (wish && may_have(mac, wish->v4_bits(), now_ns)) return wish->v4_bits();
  const auto seen =
      std::ranges::find_if(set_aside_, [&](const auto& entry) { return entry.second.user == mac; });
  if (seen != set_aside_.end() && may_have(mac, seen->first, now_ns)) return seen->first;
  if (taken_.size() + spare_.size() < kLeasesMax) {
    if (const auto number = unused()) return number;
  }
  return reclaim();
}

std::optional<LeaseTable::Number> LeaseTable::unused() {
  for (; next_ <= last_; ++next_) {
    if (in_pool(next_) && !set_aside_.contains(next_) && !by_number_.contains(next_)) {
      return next_++;
    }
  }
  while (!returned_.empty()) {
    const Number number = *returned_.begin();
    returned_.erase(returned_.begin());
    if (!by_number_.contains(number) && !set_aside_.contains(number)) return number;
  }
  return std::nullopt;
}

// The address whose lease ended longest ago; behind them those whose guests' ports were left.
std::optional<LeaseTable::Number> LeaseTable::reclaim() {
  if (spare_.empty()) return std::nullopt;
  const Number number = spare_.begin()->second;
  drop(by_number_.at(number));
  return number;
}

// Puts `mac` on record with that address, in the place of whoever's lease for it has ended.
Lease* LeaseTable::hold(const Mac& mac, Number number) {
  const auto known = leases_.find(mac);
  if (known != leases_.end() && known->second.address.v4_bits() == number) return &known->second;
  if (const auto owner = by_number_.find(number); owner != by_number_.end()) drop(owner->second);
  std::string name;
  if (known != leases_.end()) {
    name = known->second.name;
    drop(mac);
  } else if (!static_by_number_.contains(number) && taken_.size() + spare_.size() >= kLeasesMax &&
             !reclaim()) {
    return nullptr;
  }
  Lease& lease = leases_[mac];
  lease.mac = mac;
  lease.address = IpAddress::v4(number);
  lease.name = name;
  lease.proven = static_by_number_.contains(number);
  if (const auto aside = set_aside_.find(number); aside != set_aside_.end()) {
    lease.proven = true;  // by being seen with it
    end_aside(aside);
  }
  by_number_[number] = mac;
  if (!name.empty()) by_name_[name] = mac;
  return &lease;
}

// --- what is taken, and by which port ------------------------------------------------------------

size_t LeaseTable::free_count() const {
  return pool_count_ - std::min(pool_count_, taken_.size() + set_aside_.size());
}

size_t LeaseTable::taken_count(PortId lan_port) const {
  const auto found = taken_by_port_.find(lan_port);
  return found == taken_by_port_.end() ? 0 : found->second;
}

bool LeaseTable::has_its_share(PortId lan_port) const {
  const size_t free = free_count();
  return free == 0 || (lan_port != 0 && taken_count(lan_port) >= kShare * free);
}

// The address that takes nothing more from the pool when `mac` gets it.
std::optional<LeaseTable::Number> LeaseTable::has_already(const Mac& mac) const {
  if (const auto fixed = static_by_mac_.find(mac); fixed != static_by_mac_.end()) {
    return fixed->second;
  }
  if (const Lease* lease = find(mac)) {
    return lease->taken ? std::optional(lease->address.v4_bits()) : std::nullopt;
  }
  const auto seen =
      std::ranges::find_if(set_aside_, [&](const auto& entry) { return entry.second.user == mac; });
  return seen == set_aside_.end() ? std::nullopt : std::optional(seen->first);
}

void LeaseTable::take(Lease& lease, uint64_t until_ns, bool bound, PortId lan_port) {
  unlist(lease);
  lease.until_ns = until_ns;
  lease.bound = bound;
  lease.lan_port = lan_port;
  list(lease, true);
}

void LeaseTable::list(Lease& lease, bool taken) {
  const Number number = lease.address.v4_bits();
  lease.taken = taken;
  if (static_by_number_.contains(number)) return;
  (taken ? taken_ : spare_).insert({lease.until_ns, number});
  if (taken) ++taken_by_port_[lease.lan_port];
}

void LeaseTable::unlist(Lease& lease) {
  const bool was_listed =
      (lease.taken ? taken_ : spare_).erase({lease.until_ns, lease.address.v4_bits()}) != 0;
  if (was_listed && lease.taken) uncount(lease.lan_port);
}

void LeaseTable::uncount(PortId lan_port) {
  const auto count = taken_by_port_.find(lan_port);
  if (--count->second == 0) taken_by_port_.erase(count);
}

// What has ended is free again.
void LeaseTable::settle(uint64_t now_ns) {
  while (!taken_.empty() && taken_.begin()->first <= now_ns) {
    Lease& lease = leases_.at(by_number_.at(taken_.begin()->second));
    unlist(lease);
    list(lease, false);
  }
  for (auto at = set_aside_.begin(); at != set_aside_.end();) {
    at = at->second.until_ns > now_ns ? std::next(at) : end_aside(at);
  }
}

void LeaseTable::leave(PortId lan_port) {
  if (lan_port == 0) return;
  for (auto& [mac, lease] : leases_) {
    if (lease.lan_port != lan_port) continue;
    unlist(lease);
    lease.lan_port = 0;
    list(lease, false);
  }
  for (auto at = set_aside_.begin(); at != set_aside_.end();) {
    at = at->second.lan_port != lan_port ? std::next(at) : end_aside(at);
  }
}

// --- one guest -----------------------------------------------------------------------------------

void LeaseTable::drop(const Mac& mac) {
  const auto found = leases_.find(mac);
  const Number number = found->second.address.v4_bits();
  unlist(found->second);
  by_number_.erase(number);
  if (number < next_ && in_pool(number)) returned_.insert(number);
  let_go(found->second);
  leases_.erase(found);
}

void LeaseTable::let_go(const Lease& lease) {
  const auto named = by_name_.find(lease.name);
  if (named != by_name_.end() && named->second == lease.mac) by_name_.erase(named);
}

LeaseTable::Asides::iterator LeaseTable::end_aside(Asides::iterator at) {
  if (at->first < next_) returned_.insert(at->first);
  uncount(at->second.lan_port);
  return set_aside_.erase(at);
}

std::optional<IpAddress> LeaseTable::offer(const Mac& mac, const std::optional<IpAddress>& wish,
                                           uint64_t now_ns, PortId lan_port) {
  settle(now_ns);
  const auto number = has_its_share(lan_port) ? has_already(mac) : choose(mac, wish, now_ns);
  if (!number) return std::nullopt;
  Lease* lease = hold(mac, *number);
  if (lease == nullptr) return std::nullopt;
  const bool live = lease->live(now_ns);
  take(*lease, live ? lease->until_ns : now_ns + kOffer_ns, live, lan_port);
  return lease->address;
}

bool LeaseTable::bind(const Mac& mac, const IpAddress& address, uint64_t until_ns, uint64_t now_ns,
                      PortId lan_port) {
  settle(now_ns);
  if (address.v6 || !may_have(mac, address.v4_bits(), now_ns)) return false;
  if (has_its_share(lan_port) && has_already(mac) != address.v4_bits()) return false;
  Lease* lease = hold(mac, address.v4_bits());
  if (lease == nullptr) return false;
  take(*lease, until_ns, true, lan_port);
  lease->proven = true;
  return true;
}

void LeaseTable::prove(const Mac& mac) {
  if (const auto found = leases_.find(mac); found != leases_.end()) found->second.proven = true;
}

void LeaseTable::see(const Mac& mac, const IpAddress& address, uint64_t now_ns, PortId lan_port) {
  if (address.v6 || mac == Mac{} || !in_pool(address.v4_bits())) return;
  const Number number = address.v4_bits();
  const auto owner = by_number_.find(number);
  if (owner != by_number_.end()) {
    Lease& lease = leases_.at(owner->second);
    const bool promised = lease.proven && now_ns < lease.until_ns;
    const bool is_back = owner->second == mac && !lease.taken && lease.live(now_ns);
    if (is_back && !has_its_share(lan_port)) take(lease, lease.until_ns, true, lan_port);
    if (owner->second == mac || lease.live(now_ns) || promised) return;
  }
  if (const auto known = set_aside_.find(number); known != set_aside_.end()) {
    const Aside& aside = known->second;
    if (aside.user != Mac{} && aside.user != mac && now_ns < aside.until_ns) return;
    if (aside.user == mac) return put_aside(number, {now_ns + kSetAside_ns, mac, lan_port});
  }
  const auto is_its = [&](const auto& entry) { return entry.second.user == mac; };
  if (std::ranges::count_if(set_aside_, is_its) >= kSeenPerGuestMax) return;
  settle(now_ns);
  if (has_its_share(lan_port)) return;
  if (owner != by_number_.end()) drop(owner->second);
  put_aside(number, {now_ns + kSetAside_ns, mac, lan_port});
}

bool LeaseTable::release(const Mac& mac, const IpAddress& address) {
  const auto found = leases_.find(mac);
  if (found == leases_.end() || found->second.address != address) return false;
  Lease& lease = found->second;
  unlist(lease);
  lease.until_ns = 0;
  lease.bound = false;
  lease.proven = static_by_number_.contains(address.v4_bits());
  list(lease, false);
  return true;
}

bool LeaseTable::set_aside(const Mac& mac, const IpAddress& address, uint64_t now_ns) {
  settle(now_ns);
  const auto found = leases_.find(mac);
  if (found == leases_.end() || found->second.address != address) return false;
  if (!found->second.taken) return false;  // no longer
  const Number number = address.v4_bits();
  const PortId lan_port = found->second.lan_port;
  drop(mac);
  if (static_by_number_.contains(number)) return true;  // still that guest's and nobody else's
  put_aside(number, {now_ns + kSetAside_ns, Mac{}, lan_port});
  return true;
}

void LeaseTable::put_aside(Number number, const Aside& aside) {
  if (set_aside_.size() >= kSetAsideMax && !set_aside_.contains(number)) {
    const auto oldest = std::ranges::min_element(
        set_aside_, {}, [](const auto& entry) { return entry.second.until_ns; });
    end_aside(oldest);
  }
  if (const auto before = set_aside_.find(number); before != set_aside_.end()) {
    uncount(before->second.lan_port);
  }
  set_aside_[number] = aside;
  ++taken_by_port_[aside.lan_port];
}

bool LeaseTable::name(const Mac& mac, std::string_view name, uint64_t now_ns) {
  const auto found = leases_.find(mac);
  if (found == leases_.end()) return true;
  Lease& lease = found->second;
  const Lease* owner = find(name, now_ns);
  if (owner != nullptr && owner->mac != mac) {
    if (lease.name == name) lease.name.clear();  // it was given on while this lease had ended
    return false;
  }
  let_go(lease);
  lease.name = name;
  if (!name.empty()) by_name_[lease.name] = mac;
  return true;
}

const Lease* LeaseTable::find(const Mac& mac) const {
  const auto found = leases_.find(mac);
  return found == leases_.end() ? nullptr : &found->second;
}

const Lease* LeaseTable::find(const IpAddress& address) const {
  if (address.v6) return nullptr;
  const auto found = by_number_.find(address.v4_bits());
  return found == by_number_.end() ? nullptr : &leases_.at(found->second);
}

const Lease* LeaseTable::find(std::string_view name, uint64_t now_ns) const {
  const auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) return nullptr;
  const Lease& lease = leases_.at(found->second);
  return lease.live(now_ns) ? &lease : nullptr;
}

size_t LeaseTable::live_count(uint64_t now_ns) const {
  return static_cast<size_t>(
      std::ranges::count_if(leases_, [&](const auto& entry) { return entry.second.live(now_ns); }));
}

}  // namespace netstack
