#include "netstack/gateway/egress_reader.h"

#include <algorithm>

namespace netstack {

void EgressReader::sort_some() {
  const size_t count = std::min(kSorted_count, live_.size());
  for (size_t at = 0; at < count; ++at) {
    const FlowAccount::Ref ref = live_.back();
    live_.pop_back();
    const Flow* flow = account_.find(ref);
    if (flow != nullptr && flow->live() && EgressBook::concerns(*flow)) {
      sorted_.emplace(EgressBook::key_of(*flow), ref);
    }
  }
}

// False: there is none that is still live.
bool EgressReader::take_live(const EgressBook::Key& key, EgressBook::Row& row) {
  const auto [first, last] = sorted_.equal_range(key);
  bool any = false;
  for (auto at = first; at != last; ++at) {
    const Flow* flow = account_.find(at->second);
    if (flow == nullptr || !flow->live()) continue;
    EgressBook::add(*flow, row);
    any = true;
  }
  sorted_.erase(first, last);
  return any;
}

std::optional<EgressReader::Entry> EgressReader::next() {
  if (!live_.empty()) {
    sort_some();
    return std::nullopt;
  }
  const EgressBook::Rows& rows = account_.ended_flows().rows();
  const auto ended = last_ ? rows.upper_bound(*last_) : rows.begin();
  const bool live_is_first =
      !sorted_.empty() && (ended == rows.end() || sorted_.begin()->first <= ended->first);
  if (!live_is_first && ended == rows.end()) {
    ended_ = true;
    return std::nullopt;
  }
  Entry entry;
  entry.first = live_is_first ? sorted_.begin()->first : ended->first;
  const bool has_ended = ended != rows.end() && ended->first == entry.first;
  if (has_ended) entry.second = ended->second;
  last_ = entry.first;
  const bool is_live = live_is_first && take_live(entry.first, entry.second);
  if (has_ended || is_live) return entry;
  return std::nullopt;  // it has ended under another name
}

}  // namespace netstack
