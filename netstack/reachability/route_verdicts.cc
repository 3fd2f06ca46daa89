#include "netstack/reachability/route_verdicts.h"

#include <cstring>
#include <functional>

namespace netstack {

size_t RouteVerdicts::Hash::operator()(const IpAddress& address) const {
  uint64_t halves[2];
  std::memcpy(halves, address.octets.data(), sizeof halves);
  return std::hash<uint64_t>{}(halves[0] ^ halves[1] * 0x9e3779b97f4a7c15U);
}

const RouteVerdict& RouteVerdicts::judge(const IpAddress& destination, uint64_t now_ns) {
  const auto found = entries_.find(destination);
  if (found != entries_.end() && found->second.judged_ns + kAge_ns_max > now_ns) {
    return found->second.verdict;
  }
  if (entries_.size() >= kEntriesMax) entries_.clear();
  Entry& entry = entries_[destination];
  entry = {now_ns, reachability_.judge_route(destination)};
  return entry.verdict;
}

const std::optional<Reason>& RouteVerdicts::judge_nameservers(uint64_t now_ns) {
  if (!nameservers_ || nameservers_->judged_ns + kAge_ns_max <= now_ns) {
    nameservers_ = Entry{now_ns, {.reason = reachability_.judge_nameservers()}};
  }
  return nameservers_->verdict.reason;
}

}  // namespace netstack
