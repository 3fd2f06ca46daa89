#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/flows/guest_packet.h"
#include "netstack/frame/mac.h"
#include "netstack/frame/port.h"
#include "netstack/reachability/reason.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// What makes packets one flow, as the guest sees them. An echo flow has its id as the guest's port.
struct FlowKey {
  IpAddress guest;
  IpAddress peer;
  uint16_t guest_port = 0;
  uint16_t peer_port = 0;
  Protocol protocol = Protocol::kIcmpEcho;

  Target target() const { return {protocol, peer, peer_port}; }
  bool operator==(const FlowKey&) const = default;
};

// What became of a flow.
//
//   kOpening ──► kEstablished ──► kClosed
//      └──► kRefused, kUnreachable, kDenied, kTimedOut
//
// Only the first two are live. A live flow may also become kDenied or kUnreachable later, and
// kTimedOut when nothing moved for as long as its protocol is waited for; UDP and echo that had an
// answer end as kClosed instead.
enum class FlowState : uint8_t {
  kOpening,      // the first packet has gone, nothing has come back
  kEstablished,  // there was an answer
  kClosed,       // came to its end
  kRefused,      // TCP: a reset instead of an answer; UDP: port unreachable
  kUnreachable,  // an ICMP error said so; the cause tells more, if the gateway knows it
  kDenied,       // by the policy or a limit; the cause tells which
  kTimedOut,     // nothing came back
  kCount,
};
std::string_view flow_state_name(FlowState state);  // "established", "timed-out"

struct FlowCount {
  uint64_t packets = 0;
  uint64_t bytes = 0;  // of IP packets, headers included
};

struct Flow {
  uint64_t number = 0;        // in the order of opening, from 1
  uint64_t ended_number = 0;  // in the order of ending, from 1; 0: it is live
  FlowKey key;
  Mac guest_mac;
  PortId lan_port = 0;    // of the switch, where the guest is; 0: nobody says, or inward
  bool inward = false;    // opened from outside: through a forward
  bool service = false;   // the gateway's own DNS: all of a guest's questions are one flow
  bool question = false;  // not a flow but a question the policy refused; `name` is what was asked
  FlowState state = FlowState::kOpening;
  std::optional<FlowState> failure;  // UDP and echo: an error came; they go on all the same
  std::optional<Cause> cause;
  std::string name;  // the guest looked the address up by; empty: it did not
  std::string rule;  // "rule 2 (deny *.example)", if the policy denied it
  FlowCount out;     // from the guest
  FlowCount in;
  uint64_t opened_ns = 0;  // on Clock::monotonic_ns
  uint64_t opened_wall_ns = 0;
  uint64_t last_ns = 0;  // of the last packet
  // Of TCP: the numbers that follow the last segment each way, and who has ended its side.
  uint32_t next_out = 0;
  uint32_t next_in = 0;
  bool ended_out = false;
  bool ended_in = false;

  // What to call it: an error that came before any answer counts, and so do both ends' FINs.
  FlowState outcome() const {
    if (state == FlowState::kOpening && failure) return *failure;
    const bool over = state == FlowState::kEstablished && ended_out && ended_in;
    return over ? FlowState::kClosed : state;
  }
  bool live() const { return state == FlowState::kOpening || state == FlowState::kEstablished; }
};

// What the account needs of a packet of a guest's, or for one.
struct FlowPacket {
  FlowKey key;
  uint16_t bytes = 0;
  bool opens = false;     // may be the first of a flow
  uint8_t tcp_flags = 0;  // of TCP alone, as the next two
  uint32_t tcp_next = 0;  // sequence number behind this segment
  uint32_t tcp_ack = 0;
};

// Nothing: no TCP, UDP or echo, cut short, a fragment, or a DHCP message.
std::optional<FlowPacket> read_flow_packet(const GuestPacket& packet, bool from_guest);

// The guest's packet that an ICMP error for the guest quotes: "unreachable", "too big" or "time
// exceeded". Nothing: no such error.
struct FlowError {
  FlowKey key;
  bool refused;    // the port is closed
  bool hop_limit;  // the hop limit was used up
};
std::optional<FlowError> read_flow_error(const GuestPacket& packet);

}  // namespace netstack
