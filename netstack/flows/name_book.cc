#include "netstack/flows/name_book.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace netstack {

size_t NameBook::Hash::operator()(const IpAddress& address) const {
  uint64_t halves[2];
  std::memcpy(halves, address.octets.data(), sizeof halves);
  return std::hash<uint64_t>{}(halves[0] ^ halves[1] * 0x9e37'79b9'7f4a'7c15U);
}

void NameBook::learn(const Mac& mac, std::string_view name, std::span<const IpAddress> addresses) {
  if (addresses.empty()) return;
  Guest& guest = guest_of(mac);
  for (const IpAddress& address : addresses) {
    auto found = guest.by_address.find(address);
    if (found == guest.by_address.end()) {
      if (guest.entries.size() == kAddressesMax) {
        guest.by_address.erase(guest.entries.front().address);
        guest.entries.pop_front();
      }
      guest.entries.push_back({address, {}});
      found = guest.by_address.emplace(address, std::prev(guest.entries.end())).first;
    } else {
      guest.entries.splice(guest.entries.end(), guest.entries, found->second);
    }
    std::vector<std::string>& names = found->second->names;
    std::erase(names, name);
    if (names.size() == kNamesPerAddress) names.erase(names.begin());
    names.emplace_back(name);
  }
}

NameBook::Guest& NameBook::guest_of(const Mac& mac) {
  if (guests_.size() == kGuestsMax && !guests_.contains(mac)) {
    guests_.erase(
        std::ranges::min_element(guests_, {}, [](const auto& each) { return each.second.asked; }));
  }
  Guest& guest = guests_[mac];
  guest.asked = ++asked_count_;
  return guest;
}

std::span<const std::string> NameBook::names(const Mac& mac, const IpAddress& address) const {
  const auto guest = guests_.find(mac);
  if (guest == guests_.end()) return {};
  const auto found = guest->second.by_address.find(address);
  if (found == guest->second.by_address.end()) return {};
  return found->second->names;
}

}  // namespace netstack
