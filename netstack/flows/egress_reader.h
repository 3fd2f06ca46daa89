#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "netstack/flows/egress_book.h"
#include "netstack/flows/flow_account.h"

namespace netstack {

// The rows of FlowAccount::report() one by one, while flows go on: a report of thousands at once
// would hold up the loop for milliseconds, so every step looks at kStep_count flows at most.
//
//   places of flows ─► those that are live, by key ─┐
//                                                   ├─► rows by key, each as it is then
//   rows of flows that have ended ──────────────────┘
//
// A flow counts once: within the row of those that had ended when the row was begun, else by
// itself, live or not. One that opens meanwhile may be missing, and so may one that ends and is
// forgotten meanwhile. The account is borrowed.
class EgressReader {
 public:
  static constexpr size_t kStep_count = 64;

  explicit EgressReader(const FlowAccount& account) : account_(account) {}

  using Entry = std::pair<EgressBook::Key, EgressBook::Row>;
  // A step: the next row; nothing when it takes more steps to find it, or when there is none.
  std::optional<Entry> next();
  bool ended() const { return ended_; }

 private:
  void sort_some();
  void begin_row();
  void add_some(std::vector<FlowAccount::Ref>& live);

  const FlowAccount& account_;
  FlowTable::Place sorted_end_ = 0;  // places below have been looked at
  std::map<EgressBook::Key, std::vector<FlowAccount::Ref>> live_;
  std::optional<Entry> row_;   // the one that is being made
  uint64_t row_began_at_ = 0;  // FlowAccount::ended_count() then
  std::optional<EgressBook::Key> last_;
  bool ended_ = false;
};

}  // namespace netstack
