#include "netstack/flows/egress_book.h"

#include <utility>

namespace netstack {

namespace {

template <typename Value>
void note(std::set<Value>& listed, const Value& value) {
  if (listed.size() < EgressBook::kListed_count) listed.insert(value);
}

void add(FlowCount& sum, const FlowCount& more) {
  sum.packets += more.packets;
  sum.bytes += more.bytes;
}

}  // namespace

EgressBook::Key EgressBook::key_of(const Flow& flow) {
  return {.place = flow.name.empty() ? to_string(flow.key.peer) : flow.name,
          .port = flow.key.peer_port,
          .protocol = flow.key.protocol,
          .question = false};
}

void EgressBook::add(const Flow& flow) {
  if (!concerns(flow)) return;
  if (Row* found = row(key_of(flow)); found != nullptr) add(flow, *found);
}

void EgressBook::add(const Flow& flow, Row& row) {
  ++row.flows_count;
  ++row.outcomes[static_cast<size_t>(flow.outcome())];
  if (flow.cause) ++row.causes[*flow.cause];
  row.named = !flow.name.empty();
  netstack::add(row.out, flow.out);
  netstack::add(row.in, flow.in);
  note(row.addresses, flow.key.peer);
  note(row.guests, flow.guest_mac);
  if (!flow.rule.empty()) row.rule = flow.rule;
}

void EgressBook::add_packets(const Flow& flow, const FlowCount& out) {
  const auto found = rows_.find(key_of(flow));
  if (found != rows_.end()) netstack::add(found->second.out, out);
}

void EgressBook::add_question(const std::string& name, const Mac& guest, FlowState outcome,
                              std::optional<Cause> cause, std::string_view rule) {
  Row* found = row({.place = name, .port = 0, .protocol = Protocol::kUdp, .question = true});
  if (found == nullptr) return;
  ++found->flows_count;
  ++found->outcomes[static_cast<size_t>(outcome)];
  if (cause) ++found->causes[*cause];
  found->named = true;
  note(found->guests, guest);
  if (!rule.empty()) found->rule = rule;
}

EgressBook::Row* EgressBook::row(Key key) {
  const auto found = rows_.find(key);
  if (found != rows_.end()) return &found->second;
  if (rows_.size() == kRowsMax) {
    ++unlisted_count_;
    return nullptr;
  }
  return &rows_[std::move(key)];
}

}  // namespace netstack
