#include "netstack/flows/egress_reader.h"

#include <algorithm>

namespace netstack {

void EgressReader::sort_some() {
  const size_t end = std::min<size_t>(sorted_end_ + kStep_count, account_.places_end());
  for (; sorted_end_ < end; ++sorted_end_) {
    const Flow* flow = account_.live_at(sorted_end_);
    if (flow == nullptr || !EgressBook::concerns(*flow)) continue;
    live_[EgressBook::key_of(*flow)].push_back(account_.ref_of(*flow));
  }
}

// With what has ended; none: there is no row after `last_`.
void EgressReader::begin_row() {
  const EgressBook::Rows& rows = account_.ended_flows().rows();
  const auto ended = last_ ? rows.upper_bound(*last_) : rows.begin();
  const bool live_is_first =
      !live_.empty() && (ended == rows.end() || live_.begin()->first < ended->first);
  if (live_is_first) {
    row_.emplace(live_.begin()->first, EgressBook::Row());
  } else if (ended != rows.end()) {
    row_.emplace(*ended);
  } else {
    ended_ = true;
    return;
  }
  row_began_at_ = account_.ended_count();
  last_ = row_->first;
}

void EgressReader::add_some(std::vector<FlowAccount::Ref>& live) {
  for (size_t count = 0; count < kStep_count && !live.empty(); ++count, live.pop_back()) {
    const Flow* flow = account_.find(live.back());
    if (flow == nullptr) continue;
    if (flow->live() || flow->ended_number > row_began_at_) EgressBook::add(*flow, row_->second);
  }
}

std::optional<EgressReader::Entry> EgressReader::next() {
  if (sorted_end_ < account_.places_end()) {
    sort_some();
    return std::nullopt;
  }
  if (!row_) begin_row();
  if (!row_) return std::nullopt;
  if (const auto live = live_.find(row_->first); live != live_.end()) {
    add_some(live->second);
    if (!live->second.empty()) return std::nullopt;
    live_.erase(live);
  }
  std::optional<Entry> made = std::exchange(row_, std::nullopt);
  if (made->second.flows_count == 0) return std::nullopt;  // all ended under another name
  return made;
}

}  // namespace netstack
