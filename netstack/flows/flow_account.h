#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "netstack/flows/egress_book.h"
#include "netstack/flows/flow.h"
#include "netstack/flows/flow_table.h"
#include "netstack/loop/loop.h"

namespace netstack {

// Every flow through the gateway, kept by looking at the packets both ways: who, where, by which
// name, how much, how long, and what became of it.
//
// The account decides nothing but one thing: whether a guest may have one more flow. Each live flow
// may hold a descriptor of the host, so there are only so many (kFlowsMax, or what `ulimit -n`
// leaves). They are shared out twice, by the dynamic threshold of shared packet buffers:
//
//   all flows ──► a port of the switch may have three times as many as are free
//                   └──► a guest (its MAC) three times as many as its port may still have
//
// A guest writes whatever MAC it likes, but it cannot leave its port: with a new MAC for each flow
// it takes three quarters of all, and the next port still finds three sixteenths. The second rule
// is for ports with many guests behind them, a link between machines or all of slirpvde's LAN. One
// guest alone gets nine thirteenths of all. Flows that come in by forwards are no port's: they
// share a place of their own, with whatever comes from no port that is known. What goes on of a
// guest whose port was left (it may be back behind another) is not the next guest's there.
//
// Refused: a fixed number per guest, which either wastes what one guest could use or does not
// protect the others.
//
// A connection that both sides have closed, and that stays for what may follow, makes room at once.
// A flow that has ended stays on record until its place is needed, the one that ended first goes
// first. A flow that is silent ends when libslirp forgets its socket, so that neither believes in a
// flow the other has given up.
class FlowAccount {
 public:
  static constexpr size_t kFlowsMax = 16'384;      // on record, live ones and ended ones
  static constexpr size_t kFlowsMin = 64;          // even where `ulimit -n` is lower
  static constexpr size_t kDescriptorsKept = 256;  // of `ulimit -n`, for all that is no flow
  static constexpr size_t kShare = 3;              // how many times what is free one may have
  // Silence after which a flow is over.
  static constexpr uint64_t kTcpOpening_ns = 120 * kSecond_ns;  // Linux gives a connect 127 s
  static constexpr uint64_t kTcp_ns = 7860 * kSecond_ns;        // libslirp: 7800 s
  static constexpr uint64_t kTcpEnd_ns = kSecond_ns;            // for what follows the second FIN
  static constexpr uint64_t kUdp_ns = 240 * kSecond_ns;         // libslirp's
  static constexpr uint64_t kUdpDns_ns = 10 * kSecond_ns;       // libslirp's, once answered
  static constexpr uint64_t kEcho_ns = 60 * kSecond_ns;         // EchoProxy's
  static constexpr uint64_t kService_ns = 60 * kSecond_ns;
  static constexpr uint64_t kFailed_ns = 10 * kSecond_ns;  // UDP and echo that met only errors
  // A flow is put to the end of its list once per this time and not with every packet, so it may
  // outlive its silence by as much.
  static constexpr uint64_t kSlack_ns = kSecond_ns;

  struct Counters {
    uint64_t opened = 0;
    std::array<uint64_t, static_cast<size_t>(FlowState::kCount)> ended{};  // by state
    uint64_t over_limit = 0;        // flows refused because the guest or its port had its share
    uint64_t questions_denied = 0;  // by the policy
    uint64_t bytes_out = 0;
    uint64_t bytes_in = 0;
  };
  struct Opening {
    FlowKey key;
    Mac guest_mac;
    PortId lan_port = 0;
    std::string name = {};
    bool inward = false;
    bool service = false;
  };
  // Called with each flow that has ended or was denied, and each question that was; not again for
  // what is repeated with the same key.
  using Observer = std::function<void(const Flow&)>;

  FlowAccount(Loop& loop, size_t flows_max);
  ~FlowAccount();
  FlowAccount(const FlowAccount&) = delete;
  FlowAccount& operator=(const FlowAccount&) = delete;

  // How many flows this process has descriptors for.
  static size_t flows_max_of_process();

  // The live flow of that key, or one that has ended and is still on record. Valid until the next
  // call that opens or ends one.
  Flow* find(const FlowKey& key);
  // Null: the guest, or its port, has its share. Takes the place of an ended flow with the same
  // key.
  Flow* open(const Opening& opening);
  void count(Flow& flow, const FlowPacket& packet, bool from_guest);
  // An ICMP error about it came to the guest. Ends TCP that was opening; UDP and echo may go on.
  void fail(Flow& flow, FlowState state, std::optional<Cause> cause);
  void end(Flow& flow, FlowState state, std::optional<Cause> cause = {}, std::string rule = {});
  // Nobody is at that port of the switch any more.
  void leave(PortId lan_port);
  // A packet that is not let through: its flow is on record as denied.
  void deny(const Opening& opening, const FlowPacket& packet, Cause cause, std::string rule);
  void deny_question(const FlowKey& key, const Mac& mac, const std::string& name, Cause cause,
                     std::string rule);
  void end_question(const std::string& name, const Mac& mac, FlowState outcome,
                    std::optional<Cause> cause = {});

  void for_each_live(const std::function<void(Flow&)>& visit);
  EgressBook report() const;  // with the live flows as they are now

  // For who looks at flows while they come and go: a flow as it can be found again later.
  struct Ref {
    FlowTable::Place place;
    uint64_t number;
  };
  Ref ref_of(const Flow& flow) const { return {table_.place_of(flow), flow.number}; }
  // Null: another flow has its place.
  const Flow* find(const Ref& ref) const {
    const Flow& flow = table_.at(ref.place);
    return flow.number == ref.number ? &flow : nullptr;
  }
  // The last opened first, live or not.
  std::vector<Ref> recent(size_t count_max, const std::function<bool(const Flow&)>& wanted) const;
  // The live flow that has this place, if one has; all places are below places_end().
  const Flow* live_at(FlowTable::Place place) const {
    const Flow& flow = table_.at(place);
    return flow.number != 0 && flow.live() ? &flow : nullptr;
  }
  FlowTable::Place places_end() const { return table_.places_end(); }
  const EgressBook& ended_flows() const { return book_; }
  uint64_t ended_count() const { return ended_count_; }  // the last Flow::ended_number

  size_t live_count() const { return live_count_; }
  size_t flows_max() const { return table_.capacity(); }
  const Counters& counters() const { return counters_; }
  void watch(Observer on_end) { on_end_ = std::move(on_end); }

  // The clock is asked once per burst of packets.
  void begin_burst() { now_ns_ = 0; }

 private:
  enum List : uint8_t {
    kEnded,
    kTcpOpening,
    kTcp,
    kTcpEnd,
    kUdp,
    kUdpDns,
    kEcho,
    kService,
    kFailed,
    kLists
  };
  static_assert(kLists <= FlowTable::kLists_count);

  static constexpr PortId kLeftPort = UINT32_MAX;  // stands for all that were left

  // What is live behind one port of the switch.
  struct Behind {
    size_t live_count = 0;
    std::unordered_map<uint64_t, size_t> live_by_guest;  // by Mac::bits()
  };

  uint64_t now_ns();
  bool has_its_share(PortId lan_port, const Mac& guest) const;
  static List list_of(const Flow& flow);
  FlowTable::Place make(const Opening& opening);
  void follow_tcp(Flow& flow, const FlowPacket& packet, bool from_guest);
  void relist(Flow& flow, List list);
  void arm();
  void expire();

  Loop& loop_;
  FlowTable table_;
  EgressBook book_;  // of flows that have ended
  Observer on_end_;
  Counters counters_;
  std::unordered_map<PortId, Behind> live_by_port_;  // without those that have none
  size_t live_count_ = 0;
  uint64_t numbered_ = 0;
  uint64_t ended_count_ = 0;
  uint64_t now_ns_ = 0;  // 0: not asked yet
  Loop::TimerId timer_ = 0;
  uint64_t timer_deadline_ns_ = 0;
};

}  // namespace netstack
