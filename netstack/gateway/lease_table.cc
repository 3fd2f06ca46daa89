#include "netstack/gateway/lease_table.h"

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
  return_set_aside(now_ns);
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
  if (leases_.size() < kLeasesMax) {
    if (const auto number = unused(now_ns)) return number;
  }
  return reclaim(now_ns);
}

std::optional<LeaseTable::Number> LeaseTable::unused(uint64_t now_ns) {
  for (; next_ <= last_; ++next_) {
    if (in_pool(next_) && !set_aside_.contains(next_) && !by_number_.contains(next_)) {
      return next_++;
    }
  }
  return_set_aside(now_ns);
  while (!returned_.empty()) {
    const Number number = *returned_.begin();
    returned_.erase(returned_.begin());
    if (!by_number_.contains(number) && !set_aside_.contains(number)) return number;
  }
  return std::nullopt;
}

// The address whose lease ended longest ago.
std::optional<LeaseTable::Number> LeaseTable::reclaim(uint64_t now_ns) {
  if (ends_.empty() || ends_.begin()->first > now_ns) return std::nullopt;
  const Number number = ends_.begin()->second;
  drop(by_number_.at(number));
  return number;
}

// Puts `mac` on record with that address, in the place of whoever's lease for it has ended.
Lease* LeaseTable::hold(const Mac& mac, Number number, uint64_t now_ns) {
  const auto known = leases_.find(mac);
  if (known != leases_.end() && known->second.address.v4_bits() == number) return &known->second;
  if (const auto owner = by_number_.find(number); owner != by_number_.end()) drop(owner->second);
  std::string name;
  if (known != leases_.end()) {
    name = known->second.name;
    drop(mac);
  } else if (leases_.size() >= kLeasesMax && !reclaim(now_ns)) {
    return nullptr;
  }
  Lease& lease = leases_[mac];
  lease.mac = mac;
  lease.address = IpAddress::v4(number);
  lease.name = name;
  lease.proven = static_by_number_.contains(number);
  if (const auto aside = set_aside_.find(number); aside != set_aside_.end()) {
    lease.proven = true;  // by being seen with it
    set_aside_.erase(aside);
  }
  by_number_[number] = mac;
  if (!name.empty()) by_name_[name] = mac;
  set_end(lease, now_ns, false);
  return &lease;
}

void LeaseTable::set_end(Lease& lease, uint64_t until_ns, bool bound) {
  const Number number = lease.address.v4_bits();
  ends_.erase({lease.until_ns, number});
  lease.until_ns = until_ns;
  lease.bound = bound;
  if (!static_by_number_.contains(number)) ends_.insert({until_ns, number});
}

void LeaseTable::drop(const Mac& mac) {
  const auto found = leases_.find(mac);
  const Number number = found->second.address.v4_bits();
  ends_.erase({found->second.until_ns, number});
  by_number_.erase(number);
  if (number < next_ && in_pool(number)) returned_.insert(number);
  let_go(found->second);
  leases_.erase(found);
}

void LeaseTable::let_go(const Lease& lease) {
  const auto named = by_name_.find(lease.name);
  if (named != by_name_.end() && named->second == lease.mac) by_name_.erase(named);
}

void LeaseTable::return_set_aside(uint64_t now_ns) {
  std::erase_if(set_aside_, [&](const auto& entry) {
    if (entry.second.until_ns > now_ns) return false;
    if (entry.first < next_) returned_.insert(entry.first);
    return true;
  });
}

std::optional<IpAddress> LeaseTable::offer(const Mac& mac, const std::optional<IpAddress>& wish,
                                           uint64_t now_ns) {
  return_set_aside(now_ns);
  const auto number = choose(mac, wish, now_ns);
  if (!number) return std::nullopt;
  Lease* lease = hold(mac, *number, now_ns);
  if (lease == nullptr) return std::nullopt;
  if (!lease->live(now_ns)) set_end(*lease, now_ns + kOffer_ns, false);
  return lease->address;
}

bool LeaseTable::bind(const Mac& mac, const IpAddress& address, uint64_t until_ns,
                      uint64_t now_ns) {
  return_set_aside(now_ns);
  if (address.v6 || !may_have(mac, address.v4_bits(), now_ns)) return false;
  Lease* lease = hold(mac, address.v4_bits(), now_ns);
  if (lease == nullptr) return false;
  set_end(*lease, until_ns, true);
  lease->proven = true;
  return true;
}

void LeaseTable::prove(const Mac& mac) {
  if (const auto found = leases_.find(mac); found != leases_.end()) found->second.proven = true;
}

void LeaseTable::see(const Mac& mac, const IpAddress& address, uint64_t now_ns) {
  if (address.v6 || mac == Mac{} || !in_pool(address.v4_bits())) return;
  const Number number = address.v4_bits();
  const auto owner = by_number_.find(number);
  if (owner != by_number_.end()) {
    const Lease& lease = leases_.at(owner->second);
    const bool promised = lease.proven && now_ns < lease.until_ns;
    if (owner->second == mac || lease.live(now_ns) || promised) return;
  }
  if (const auto known = set_aside_.find(number); known != set_aside_.end()) {
    const Aside& aside = known->second;
    if (aside.user != Mac{} && aside.user != mac && now_ns < aside.until_ns) return;
    if (aside.user == mac) return put_aside(number, {now_ns + kSetAside_ns, mac});
  }
  const auto is_its = [&](const auto& entry) { return entry.second.user == mac; };
  if (std::ranges::count_if(set_aside_, is_its) >= kSeenPerGuestMax) return;
  if (owner != by_number_.end()) drop(owner->second);
  put_aside(number, {now_ns + kSetAside_ns, mac});
}

bool LeaseTable::release(const Mac& mac, const IpAddress& address) {
  const auto found = leases_.find(mac);
  if (found == leases_.end() || found->second.address != address) return false;
  set_end(found->second, 0, false);
  found->second.proven = static_by_number_.contains(address.v4_bits());
  return true;
}

bool LeaseTable::set_aside(const Mac& mac, const IpAddress& address, uint64_t now_ns) {
  const auto found = leases_.find(mac);
  if (found == leases_.end() || found->second.address != address) return false;
  const Number number = address.v4_bits();
  drop(mac);
  if (static_by_number_.contains(number)) return true;  // still that guest's and nobody else's
  put_aside(number, {now_ns + kSetAside_ns, Mac{}});
  return true;
}

void LeaseTable::put_aside(Number number, const Aside& aside) {
  if (set_aside_.size() >= kSetAsideMax && !set_aside_.contains(number)) {
    const auto oldest = std::ranges::min_element(
        set_aside_, {}, [](const auto& entry) { return entry.second.until_ns; });
    if (oldest->first < next_) returned_.insert(oldest->first);
    set_aside_.erase(oldest);
  }
  set_aside_[number] = aside;
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
