#include "netstack/flows/flow_account.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"

namespace netstack {

namespace {

// By FlowAccount::List.
constexpr uint64_t kSilence_ns[] = {
    UINT64_MAX,
    FlowAccount::kTcpOpening_ns,
    FlowAccount::kTcp_ns,
    FlowAccount::kTcpEnd_ns,
    FlowAccount::kUdp_ns,
    FlowAccount::kUdpDns_ns,
    FlowAccount::kEcho_ns,
    FlowAccount::kService_ns,
    FlowAccount::kFailed_ns,
};

void count_one(FlowCount& count, uint64_t bytes) {
  ++count.packets;
  count.bytes += bytes;
}

}  // namespace

FlowAccount::FlowAccount(Loop& loop, size_t flows_max) : loop_(loop), table_(flows_max) {}

FlowAccount::~FlowAccount() {
  loop_.cancel(timer_);
}

size_t FlowAccount::flows_max_of_process() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kFlowsMin;
  const size_t descriptors = limit.rlim_cur > kFlowsMax * 2 ? kFlowsMax * 2 : limit.rlim_cur;
  const size_t left = descriptors > kDescriptorsKept ? descriptors - kDescriptorsKept : 0;
  return std::clamp(left, kFlowsMin, kFlowsMax);
}

uint64_t FlowAccount::now_ns() {
  if (now_ns_ == 0) now_ns_ = loop_.clock().monotonic_ns();
  return now_ns_;
}

bool FlowAccount::has_its_share(PortId lan_port, const Mac& guest) const {
  const size_t for_port = kShare * (table_.capacity() - live_count_);
  const auto behind = live_by_port_.find(lan_port);
  if (behind == live_by_port_.end()) return for_port == 0;
  const size_t port_has = behind->second.live_count;
  if (port_has >= for_port) return true;
  const auto& by_guest = behind->second.live_by_guest;
  const auto found = by_guest.find(guest.bits());
  return found != by_guest.end() && found->second >= kShare * (for_port - port_has);
}

FlowAccount::List FlowAccount::list_of(const Flow& flow) {
  if (!flow.live()) return kEnded;
  if (flow.service) return kService;
  if (flow.state == FlowState::kOpening && flow.failure) return kFailed;
  switch (flow.key.protocol) {
    case Protocol::kTcp:
      return flow.state == FlowState::kOpening ? kTcpOpening : kTcp;
    case Protocol::kUdp:
      return flow.key.peer_port == kPortDns && flow.state == FlowState::kEstablished ? kUdpDns
                                                                                     : kUdp;
    case Protocol::kIcmpEcho:
    case Protocol::kOther:  // no flow
      break;
  }
  return kEcho;
}

Flow* FlowAccount::find(const FlowKey& key) {
  const FlowTable::Place place = table_.find(key);
  return place == FlowTable::kNowhere ? nullptr : &table_.at(place);
}

// A record for `opening`, as a live flow that is not counted as one yet. The pool is made of live
// flows and ended ones, so there is room as long as not all are live.
FlowTable::Place FlowAccount::make(const Opening& opening) {
  FlowTable::Place place = table_.find(opening.key);
  if (place != FlowTable::kNowhere) {
    if (Flow& before = table_.at(place); before.live()) end(before, FlowState::kClosed);
    table_.erase(place);
  } else if (table_.size() == table_.capacity()) {
    place = table_.first(kEnded);
    if (place == FlowTable::kNowhere) return place;
    table_.erase(place);
  }
  place = table_.add(opening.key, kEnded, now_ns());
  Flow& flow = table_.at(place);
  flow.number = ++numbered_;
  flow.guest_mac = opening.guest_mac;
  flow.lan_port = opening.lan_port;
  flow.name = opening.name;
  flow.inward = opening.inward;
  flow.service = opening.service;
  flow.opened_ns = flow.last_ns = now_ns();
  flow.opened_wall_ns = loop_.clock().wall_ns();
  return place;
}

Flow* FlowAccount::open(const Opening& opening) {
  if (Flow* before = find(opening.key); before != nullptr && before->live()) {
    end(*before, FlowState::kClosed);  // the guest uses its port again
  }
  while (has_its_share(opening.lan_port, opening.guest_mac)) {
    const FlowTable::Place ending = table_.first(kTcpEnd);
    if (ending == FlowTable::kNowhere) {
      ++counters_.over_limit;
      return nullptr;
    }
    end(table_.at(ending), FlowState::kClosed);
  }
  const FlowTable::Place place = make(opening);
  Flow& flow = table_.at(place);
  ++live_count_;
  Behind& behind = live_by_port_[opening.lan_port];
  ++behind.live_count;
  ++behind.live_by_guest[opening.guest_mac.bits()];
  ++counters_.opened;
  table_.move_to_end(place, list_of(flow), now_ns());
  arm();
  return &flow;
}

void FlowAccount::count(Flow& flow, const FlowPacket& packet, bool from_guest) {
  count_one(from_guest ? flow.out : flow.in, packet.bytes);
  (from_guest ? counters_.bytes_out : counters_.bytes_in) += packet.bytes;
  flow.last_ns = now_ns();
  if (flow.key.protocol == Protocol::kTcp && !flow.service) {
    return follow_tcp(flow, packet, from_guest);
  }
  const bool answer = from_guest == flow.inward;
  if (answer) {  // what came before it is over
    flow.state = FlowState::kEstablished;
    flow.failure.reset();
    flow.cause.reset();
  }
  relist(flow, list_of(flow));
}

void FlowAccount::follow_tcp(Flow& flow, const FlowPacket& packet, bool from_guest) {
  const bool answer = from_guest == flow.inward;
  const bool opening = flow.state == FlowState::kOpening;
  uint32_t& next = from_guest ? flow.next_out : flow.next_in;
  const bool first = (from_guest ? flow.out : flow.in).packets == 1;
  if (first || static_cast<int32_t>(packet.tcp_next - next) > 0) next = packet.tcp_next;
  if ((packet.tcp_flags & kTcpRst) != 0) {
    return end(flow, opening && answer ? FlowState::kRefused : FlowState::kClosed);
  }
  if (opening && answer) flow.state = FlowState::kEstablished;
  if ((packet.tcp_flags & kTcpFin) != 0) (from_guest ? flow.ended_out : flow.ended_in) = true;
  relist(flow, flow.ended_out && flow.ended_in ? kTcpEnd : list_of(flow));
}

// To the end of its list, if that is another one or it has not been there for a while.
void FlowAccount::relist(Flow& flow, List list) {
  const auto& record = static_cast<const FlowTable::Record&>(flow);
  if (record.list == list && record.listed_ns + kSlack_ns > now_ns()) return;
  const bool other = record.list != list;
  table_.move_to_end(table_.place_of(flow), list, now_ns());
  if (other) arm();
}

void FlowAccount::fail(Flow& flow, FlowState state, std::optional<Cause> cause) {
  if (flow.key.protocol == Protocol::kTcp) {
    if (flow.state == FlowState::kOpening) end(flow, state, cause);
    return;
  }
  flow.failure = state;
  flow.cause = cause;
  relist(flow, list_of(flow));
}

void FlowAccount::end(Flow& flow, FlowState state, std::optional<Cause> cause, std::string rule) {
  flow.state = state;
  flow.ended_number = ++ended_count_;
  if (cause) flow.cause = cause;
  flow.rule = std::move(rule);
  table_.move_to_end(table_.place_of(flow), kEnded, now_ns());
  --live_count_;
  const auto behind = live_by_port_.find(flow.lan_port);
  auto& by_guest = behind->second.live_by_guest;
  const auto guest = by_guest.find(flow.guest_mac.bits());
  if (--guest->second == 0) by_guest.erase(guest);
  if (--behind->second.live_count == 0) live_by_port_.erase(behind);
  ++counters_.ended[static_cast<size_t>(state)];
  book_.add(flow);
  if (on_end_) on_end_(flow);
}

void FlowAccount::leave(PortId lan_port) {
  auto node = live_by_port_.extract(lan_port);
  if (node.empty()) return;
  Behind& left = live_by_port_[kLeftPort];
  left.live_count += node.mapped().live_count;
  for (const auto& [guest, count] : node.mapped().live_by_guest) left.live_by_guest[guest] += count;
  for_each_live([lan_port](Flow& flow) {
    if (flow.lan_port == lan_port) flow.lan_port = kLeftPort;
  });
}

void FlowAccount::deny(const Opening& opening, const FlowPacket& packet, Cause cause,
                       std::string rule) {
  Flow* before = find(opening.key);
  if (before != nullptr && before->state == FlowState::kDenied && before->cause == cause) {
    count_one(before->out, packet.bytes);
    before->last_ns = now_ns();
    return book_.add_packets(*before, {1, packet.bytes});
  }
  const FlowTable::Place place = make(opening);
  Flow unlisted;  // when every place is taken by a live flow
  Flow& flow = place == FlowTable::kNowhere ? unlisted : table_.at(place);
  if (place == FlowTable::kNowhere) {
    flow.key = opening.key;
    flow.guest_mac = opening.guest_mac;
    flow.name = opening.name;
  }
  flow.state = FlowState::kDenied;
  flow.ended_number = ++ended_count_;
  flow.cause = cause;
  flow.rule = std::move(rule);
  count_one(flow.out, packet.bytes);
  ++counters_.ended[static_cast<size_t>(FlowState::kDenied)];
  book_.add(flow);
  if (on_end_) on_end_(flow);
}

void FlowAccount::deny_question(const FlowKey& key, const Mac& mac, const std::string& name,
                                Cause cause, std::string rule) {
  ++counters_.questions_denied;
  book_.add_question(name, mac, FlowState::kDenied, cause, rule);
  if (!on_end_) return;
  Flow question;
  question.key = key;
  question.guest_mac = mac;
  question.question = true;
  question.state = FlowState::kDenied;
  question.cause = cause;
  question.name = name;
  question.rule = std::move(rule);
  question.opened_wall_ns = loop_.clock().wall_ns();
  on_end_(question);
}

void FlowAccount::end_question(const std::string& name, const Mac& mac, FlowState outcome,
                               std::optional<Cause> cause) {
  book_.add_question(name, mac, outcome, cause);
}

void FlowAccount::for_each_live(const std::function<void(Flow&)>& visit) {
  for (uint8_t list = kEnded + 1; list < kLists; ++list) {
    for (auto place = table_.first(list); place != FlowTable::kNowhere;) {
      FlowTable::Record& record = table_.at(place);
      place = record.next;  // `visit` may end the flow
      visit(record);
    }
  }
}

std::vector<FlowAccount::Ref> FlowAccount::recent(
    size_t count_max, const std::function<bool(const Flow&)>& wanted) const {
  std::vector<Ref> found;
  found.reserve(table_.size());
  for (FlowTable::Place place = 0; place < places_end(); ++place) {
    const Flow& flow = table_.at(place);
    if (flow.number != 0 && wanted(flow)) found.push_back({place, flow.number});
  }
  const size_t count = std::min(count_max, found.size());
  const auto later = [](const Ref& one, const Ref& other) { return one.number > other.number; };
  std::partial_sort(found.begin(), found.begin() + static_cast<ptrdiff_t>(count), found.end(),
                    later);
  found.resize(count);
  return found;
}

EgressBook FlowAccount::report() const {
  EgressBook book = book_;
  for (FlowTable::Place place = 0; place < places_end(); ++place) {
    if (const Flow* flow = live_at(place); flow != nullptr) book.add(*flow);
  }
  return book;
}

// --- silence ------------------------------------------------------------------------------------

// One timer, for the list whose first flow is due first.
void FlowAccount::arm() {
  uint64_t earliest_ns = UINT64_MAX;
  for (uint8_t list = kEnded + 1; list < kLists; ++list) {
    const FlowTable::Place first = table_.first(list);
    if (first == FlowTable::kNowhere) continue;
    earliest_ns = std::min(earliest_ns, table_.at(first).listed_ns + kSilence_ns[list] + kSlack_ns);
  }
  if (timer_ != 0 && timer_deadline_ns_ <= earliest_ns) return;  // what is early asks again
  loop_.cancel(timer_);
  timer_ = 0;
  if (earliest_ns == UINT64_MAX) return;
  timer_deadline_ns_ = earliest_ns;
  timer_ = loop_.at(earliest_ns, [this] { expire(); });
}

void FlowAccount::expire() {
  timer_ = 0;
  now_ns_ = 0;
  for (uint8_t list = kEnded + 1; list < kLists; ++list) {
    for (auto place = table_.first(list); place != FlowTable::kNowhere;
         place = table_.first(list)) {
      FlowTable::Record& record = table_.at(place);
      if (record.listed_ns + kSilence_ns[list] + kSlack_ns > now_ns()) break;
      FlowState state = FlowState::kClosed;
      std::optional<Cause> cause = record.cause;
      if (record.state == FlowState::kOpening) {
        state = record.failure.value_or(FlowState::kTimedOut);
        if (!record.failure && !record.inward) cause = Cause::kNoAnswer;
      }
      if (list == kTcp) state = FlowState::kTimedOut;
      end(record, state, cause);
    }
  }
  arm();
}

}  // namespace netstack
