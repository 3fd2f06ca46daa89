#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "netstack/gateway/egress_book.h"
#include "netstack/gateway/flow_account.h"

namespace netstack {

// The rows of FlowAccount::report() one by one, while flows go on: a report of thousands at once
// would hold up the loop for milliseconds.
//
//   live flows, as references ─► by key, kSorted_count a step ─┐
//                                                              ├─► rows by key, each as it is then
//   rows of flows that have ended ─────────────────────────────┘
//
// A flow counts once: as live if it still is when its row is made, else within the row of those
// that have ended. One that opens meanwhile may be missing. The account is borrowed.
class EgressReader {
 public:
  static constexpr size_t kSorted_count = 64;

  explicit EgressReader(const FlowAccount& account)
      : account_(account), live_(account.live_flows()) {}

  using Entry = std::pair<EgressBook::Key, EgressBook::Row>;
  // A step: the next row; nothing when it takes more steps to find it, or when there is none.
  std::optional<Entry> next();
  bool ended() const { return ended_; }

 private:
  void sort_some();
  bool take_live(const EgressBook::Key& key, EgressBook::Row& row);

  const FlowAccount& account_;
  std::vector<FlowAccount::Ref> live_;  // those that are not sorted yet
  std::multimap<EgressBook::Key, FlowAccount::Ref> sorted_;
  std::optional<EgressBook::Key> last_;
  bool ended_ = false;
};

}  // namespace netstack
