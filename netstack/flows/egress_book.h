#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include "netstack/flows/flow.h"

namespace netstack {

// All that guests reached for, for a report at the end: flows outward and questions to nameservers,
// a row for each place they went to. A place is the name it was looked up by, else its address;
// the gateway's own DNS and echo are no place outside, connections into guests no reaching out.
class EgressBook {
 public:
  static constexpr size_t kRowsMax = 8192;     // what comes after is counted in unlisted()
  static constexpr size_t kListed_count = 16;  // guests, and addresses, that a row names

  struct Key {
    std::string place;  // a name, or an address as text
    uint16_t port = 0;
    Protocol protocol = Protocol::kIcmpEcho;
    bool question = false;  // a name asked for; port and protocol mean nothing
    auto operator<=>(const Key&) const = default;
  };
  struct Row {
    bool named = false;  // the place is a name
    uint64_t flows_count = 0;
    std::array<uint64_t, static_cast<size_t>(FlowState::kCount)> outcomes{};
    std::map<Cause, uint64_t> causes;
    FlowCount out;
    FlowCount in;
    std::set<IpAddress> addresses;
    std::set<Mac> guests;
    std::string rule;  // that denied it last

    uint64_t count(FlowState state) const { return outcomes[static_cast<size_t>(state)]; }
  };
  using Rows = std::map<Key, Row>;

  static bool concerns(const Flow& flow) { return !flow.inward && !flow.service; }
  static Key key_of(const Flow& flow);
  static void add(const Flow& flow, Row& row);

  void add(const Flow& flow);
  // More packets of a flow that has been added.
  void add_packets(const Flow& flow, const FlowCount& out);
  // A question for `name` that went to nameservers: kClosed (there was an answer, whichever),
  // kUnreachable; or kDenied.
  void add_question(const std::string& name, const Mac& guest, FlowState outcome,
                    std::optional<Cause> cause = {}, std::string_view rule = {});

  const Rows& rows() const { return rows_; }
  uint64_t unlisted_count() const { return unlisted_count_; }  // flows and questions without a row

 private:
  Row* row(Key key);

  Rows rows_;
  uint64_t unlisted_count_ = 0;
};

}  // namespace netstack
