#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "netstack/frame/mac.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// Which names each guest got an address for, from the gateway's own DNS: the question's name, not
// those a chain of aliases passes through. A guest is its MAC address, since it asks over IPv4 for
// what it then reaches over IPv6.
//
// Each guest has a book of its own, so that one which asks without end forgets its own names only.
class NameBook {
 public:
  static constexpr size_t kGuestsMax = 128;      // then the one that asked longest ago is forgotten
  static constexpr size_t kAddressesMax = 1024;  // per guest; the longest unused makes room
  static constexpr size_t kNamesPerAddress = 4;  // the oldest makes room

  void learn(const Mac& guest, std::string_view name, std::span<const IpAddress> addresses);
  // The last one asked for is the last one here. Valid until the next learn().
  std::span<const std::string> names(const Mac& guest, const IpAddress& address) const;

 private:
  struct Entry {
    IpAddress address;
    std::vector<std::string> names;
  };
  struct Hash {
    size_t operator()(const IpAddress& address) const;
  };
  struct Guest {
    std::list<Entry> entries;  // the longest unused first
    std::unordered_map<IpAddress, std::list<Entry>::iterator, Hash> by_address;
    uint64_t asked = 0;  // a serial number
  };

  Guest& guest_of(const Mac& mac);

  std::map<Mac, Guest> guests_;
  uint64_t asked_count_ = 0;
};

}  // namespace netstack
