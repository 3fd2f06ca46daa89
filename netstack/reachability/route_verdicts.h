#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "netstack/base/clock.h"
#include "netstack/reachability/reachability.h"

namespace netstack {

// What the kernel said of a destination, remembered for a moment so that a stream of packets does
// not become a stream of route lookups.
class RouteVerdicts {
 public:
  static constexpr size_t kEntriesMax = 1024;  // all are forgotten when one more would not fit
  static constexpr uint64_t kAge_ns_max = kSecond_ns;

  explicit RouteVerdicts(Reachability& reachability) : reachability_(reachability) {}
  const RouteVerdict& judge(const IpAddress& destination, uint64_t now_ns);
  const std::optional<Reason>& judge_nameservers(uint64_t now_ns);

 private:
  struct Entry {
    uint64_t judged_ns;
    RouteVerdict verdict;
  };
  struct Hash {
    size_t operator()(const IpAddress& address) const;
  };
  Reachability& reachability_;
  std::unordered_map<IpAddress, Entry, Hash> entries_;
  std::optional<Entry> nameservers_;
};

}  // namespace netstack
