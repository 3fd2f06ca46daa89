#include <cstring>

#include "netstack/gateway/gateway.h"

namespace netstack {

size_t RouteVerdicts::Hash::operator()(const IpAddress& address) const {
  uint64_t halves[2];
  std::memcpy(halves, address.octets.data(), sizeof halves);
  return std::hash<uint64_t>{}(halves[0] ^ halves[1] * 0x9e3779b97f4a7c15U);
}

const std::optional<Reason>& RouteVerdicts::judge(const IpAddress& destination, uint64_t now_ns) {
  const auto found = entries_.find(destination);
  if (found != entries_.end() && found->second.judged_ns + kAge_ns_max > now_ns) {
    return found->second.reason;
  }
  if (entries_.size() >= kEntriesMax) entries_.clear();
  Entry& entry = entries_[destination];
  entry = {now_ns, reachability_.judge_route(destination)};
  return entry.reason;
}

const std::optional<Reason>& RouteVerdicts::judge_nameservers(uint64_t now_ns) {
  if (!nameservers_ || nameservers_->judged_ns + kAge_ns_max <= now_ns) {
    nameservers_ = Entry{now_ns, reachability_.judge_nameservers()};
  }
  return nameservers_->reason;
}

std::string ReasonLog::say(const IpAddress& guest, const Target& target, const Reason& reason,
                           std::string_view told) {
  if (said_.size() >= kRememberedMax) said_.clear();
  const bool fresh =
      said_.emplace(guest, target.protocol, target.address, target.port, reason.cause).second;
  std::string line = explain_line(guest, target, reason, told);
  if (fresh) log_.line(line);
  return line;
}

}  // namespace netstack
