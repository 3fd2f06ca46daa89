// Which flows may be, and what becomes of them: the policy and the account, where packets pass.
//
//   guest's packet ─► pass_flow ─┬─ of a live flow: counted, goes on (the hot path: one lookup)
//                                ├─ denied: ICMP "administratively prohibited", or RST in midstream
//                                ├─ the guest has its share of flows: the same, cause flow-limit
//                                └─ else it may open a flow, which is then live
//   frame to guest ─► pass_to_guest ─┬─ of a live flow: counted
//                                    ├─ an ICMP error: what it says of the flow that it quotes
//                                    ├─ of a flow that was denied while it ran: dropped
//                                    └─ TCP SYN, UDP: a flow inward, through a forward
//
// A flow is judged when it opens, and again when the policy changes; in between its packets are
// let through because it is live. A packet of no live flow is judged whatever it is, so a flow that
// was ended stays ended.
//
// The end of a TCP flow that the policy no longer allows: the guest gets a RST, and the engine gets
// one in the guest's name so that the host's socket closes. Both go by the last numbers seen; where
// those have moved on meanwhile, whatever segment comes next is answered by a RST that fits it
// (RFC 9293 §3.10.7.1). The engine is called back from inside the engine, so its resets wait for
// the end of the tick.
#include <fmt/format.h>

#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/gateway/gateway.h"
#include "netstack/wire/dns.h"
#include "netstack/wire/tcp.h"

namespace netstack {

namespace {

std::string rule_for(const Target& target, const std::string& name) {
  const std::string place = !name.empty()       ? name
                            : target.address.v6 ? fmt::format("[{}]", to_string(target.address))
                                                : to_string(target.address);
  if (target.protocol == Protocol::kIcmpEcho) return fmt::format("icmp:{}", place);
  return fmt::format("{}:{}:{}", protocol_name(target.protocol), place, target.port);
}

Cause cause_of(const Policy::Verdict& verdict) {
  return verdict.restricted ? Cause::kRestricted : Cause::kPolicyDenied;
}

// `place`: what the guest wants to reach, or to know. `rule`: what would allow it.
Reason denial(const Policy::Verdict& verdict, const std::string& place, const std::string& rule) {
  Reason reason{cause_of(verdict), 0, {}, {}};
  if (verdict.restricted) {
    reason.fact = "--restrict keeps the guests to their LAN";
    reason.cure = "leave it (QEMU: restrict=on) away, or forward what the guest needs";
  } else if (verdict.rule == nullptr) {
    reason.fact = fmt::format("no rule allows {}", place);
    reason.cure = fmt::format("--allow {}", rule);
  } else {
    reason.fact = fmt::format("{} denies {}", verdict.by(), place);
    reason.cure = fmt::format("--allow {} in front of it", rule);
  }
  return reason;
}

std::string place_of(const FlowAccount::Opening& opening) {
  const std::string address = to_string(opening.key.peer);
  return opening.name.empty() ? address : fmt::format("{} ({})", opening.name, address);
}

std::string lower_case(std::string text) {
  for (char& letter : text) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return text;
}

}  // namespace

// --- from guests --------------------------------------------------------------------------------

bool Gateway::is_service(const FlowKey& key) const {
  return key.protocol != Protocol::kIcmpEcho && key.peer_port == kPortDns &&
         is_nameserver(key.peer);
}

FlowAccount::Opening Gateway::describe(const FlowKey& key, const Mac& mac, bool inward) const {
  FlowAccount::Opening opening{
      .key = key, .guest_mac = mac, .lan_port = inward ? PortId{0} : sender(), .inward = inward};
  opening.service = is_service(key);
  const auto names = name_book_.names(mac, key.peer);
  if (!names.empty() && !inward) opening.name = names.back();
  return opening;
}

Policy::Verdict Gateway::judge(const FlowKey& key, const Mac& mac) {
  const bool own_echo = key.protocol == Protocol::kIcmpEcho && is_ours(key.peer);
  const bool led_out =
      key.protocol == Protocol::kTcp && guest_forwards_.serves(key.peer, key.peer_port);
  if (policy_.is_open() || own_echo || led_out || is_service(key)) return {};
  return policy_.judge(key.target(), name_book_.names(mac, key.peer));
}

bool Gateway::pass_flow(const GuestPacket& packet) {
  auto seen = read_flow_packet(packet, true);
  if (!seen) return true;  // no flow; whatever is wrong with it is seen later
  if (is_service(seen->key)) seen->key.guest_port = 0;
  Flow* flow = flows_.find(seen->key);
  const bool again = seen->opens && flow != nullptr && flow->ended_in && flow->ended_out;
  if (flow != nullptr && flow->live() && !again) {
    flows_.count(*flow, *seen, true);
    return true;
  }
  if (!seen->opens && policy_.is_open()) return true;
  const FlowAccount::Opening opening = describe(seen->key, packet.path.guest, false);
  const Policy::Verdict verdict = judge(seen->key, packet.path.guest);
  if (!verdict.allowed) return deny_flow(packet, *seen, opening, verdict);
  if (!seen->opens) return true;
  if (!packet.v6()) names_.hear_address(packet.source, packet.path.guest, sender());
  flow = flows_.open(opening);
  if (flow != nullptr) {
    flows_.count(*flow, *seen, true);
  } else if (!opening.service) {  // what the gateway answers itself has limits of its own
    refuse_flow(packet, *seen, opening);
    return false;
  }
  return true;
}

// Always false: the packet has been answered.
bool Gateway::deny_flow(const GuestPacket& packet, const FlowPacket& seen,
                        const FlowAccount::Opening& opening, const Policy::Verdict& verdict) {
  const Target target = seen.key.target();
  if (seen.key.protocol == Protocol::kTcp && !seen.opens) {
    if ((seen.tcp_flags & kTcpRst) != 0) return false;
    const Flow* flow = flows_.find(seen.key);
    if (flow != nullptr) reset_engine(seen.key, packet.path.guest, seen.tcp_next);
    stage_packet(packet.path, make_tcp_packet(seen.key.peer, seen.key.guest,
                                              {.source_port = seen.key.peer_port,
                                               .destination_port = seen.key.guest_port,
                                               .seq = seen.tcp_ack,
                                               .flags = kTcpRst}));
    return false;
  }
  flows_.deny(opening, seen, cause_of(verdict), verdict.by());
  refuse(packet, target, denial(verdict, place_of(opening), rule_for(target, opening.name)));
  return false;
}

void Gateway::refuse_flow(const GuestPacket& packet, const FlowPacket& seen,
                          const FlowAccount::Opening& opening) {
  flows_.deny(opening, seen, Cause::kFlowLimit, {});
  count_drop(DropReason::kLimit);
  refuse(packet, seen.key.target(),
         {Cause::kFlowLimit, 0,
          fmt::format("the guest, or its port of the switch, has its share of the {} flows that "
                      "can be open at once",
                      flows_.flows_max()),
          "have it close some; up to 16384 are possible with a higher `ulimit -n`"});
}

// --- to guests ----------------------------------------------------------------------------------

bool Gateway::pass_to_guest(std::span<const uint8_t> frame) {
  const auto packet = parse_towards_guest(frame);
  if (!packet) return true;  // ARP
  auto seen = read_flow_packet(*packet, false);
  if (!seen) {
    if (const auto error = read_flow_error(*packet)) note_error(*error);
    return true;
  }
  if (is_service(seen->key)) seen->key.guest_port = 0;
  Flow* flow = flows_.find(seen->key);
  const bool again = seen->opens && seen->key.protocol == Protocol::kTcp && flow != nullptr &&
                     flow->ended_in && flow->ended_out;
  if (flow != nullptr && flow->live() && !again) {
    flows_.count(*flow, *seen, false);
    return true;
  }
  const bool reset = (seen->tcp_flags & kTcpRst) != 0;
  if (flow != nullptr && flow->state == FlowState::kDenied && !flow->inward) {
    if (!reset && seen->key.protocol == Protocol::kTcp) {
      reset_engine(seen->key, packet->path.guest, seen->tcp_ack);
    }
    return reset;
  }
  if (!seen->opens || is_service(seen->key) || forwards_.is_probe(seen->key)) return true;
  flow = flows_.open(describe(seen->key, packet->path.guest, true));
  if (flow != nullptr) flows_.count(*flow, *seen, false);
  return true;
}

void Gateway::note_error(const FlowError& error) {
  FlowKey key = error.key;
  if (is_service(key)) key.guest_port = 0;
  Flow* flow = flows_.find(key);
  if (flow == nullptr || !flow->live() || flow->inward) return;
  // A path that has been gone to its end: somebody looks at the routers on it.
  if (error.hop_limit && flow->state == FlowState::kEstablished) return;
  std::optional<Cause> cause;
  if (!reasons_.entries().empty()) {  // the one told of last: the error comes right behind it
    const ReasonBook::Entry& told = reasons_.entries().back();
    if (told.guest == key.guest && told.target.protocol == key.protocol &&
        told.target.address == key.peer) {
      cause = told.reason.cause;
    }
  }
  flows_.fail(*flow, error.refused ? FlowState::kRefused : FlowState::kUnreachable, cause);
}

// --- the policy changes -------------------------------------------------------------------------

void Gateway::on_policy_change() {
  flows_.begin_burst();
  flows_.for_each_live([this](Flow& flow) {
    if (flow.inward) return;
    const Policy::Verdict verdict = judge(flow.key, flow.guest_mac);
    if (verdict.allowed) return;
    if (flow.failure) {  // what came of it stays true; its next packet begins another
      flows_.end(flow, *flow.failure, flow.cause);
    } else {
      end_denied(flow, verdict);
    }
  });
}

void Gateway::end_denied(Flow& flow, const Policy::Verdict& verdict) {
  const FlowKey key = flow.key;
  const Mac mac = flow.guest_mac;
  const uint32_t next_in = flow.next_in;
  const uint32_t next_out = flow.next_out;
  const FlowAccount::Opening opening = describe(key, mac, false);
  flows_.end(flow, FlowState::kDenied, cause_of(verdict), verdict.by());
  const bool tcp = key.protocol == Protocol::kTcp;
  reasons_.tell(key.guest, key.target(),
                denial(verdict, place_of(opening), rule_for(key.target(), opening.name)),
                tcp ? "Connection reset by peer" : "");
  if (!tcp) return;  // its next packet gets the ICMP error
  stage_packet({.guest = mac, .gateway = engine_mac(own_address(key.guest.v6))},
               make_tcp_packet(key.peer, key.guest,
                               {.source_port = key.peer_port,
                                .destination_port = key.guest_port,
                                .seq = next_in,
                                .ack = next_out,
                                .flags = kTcpRst | kTcpAck}));
  reset_engine(key, mac, next_out);
}

// Ends the engine's side of a TCP flow, in the guest's name.
void Gateway::reset_engine(const FlowKey& key, const Mac& mac, uint32_t seq) {
  const std::vector<uint8_t> packet = make_tcp_packet(key.guest, key.peer,
                                                      {.source_port = key.guest_port,
                                                       .destination_port = key.peer_port,
                                                       .seq = seq,
                                                       .flags = kTcpRst});
  std::vector<uint8_t> frame(kEthernetHeadBytes);
  engine_mac(own_address(key.guest.v6)).write(frame.data());
  mac.write(frame.data() + 6);
  write_u16(&frame[12], key.guest.v6 ? kEthertypeIpv6 : kEthertypeIpv4);
  frame.insert(frame.end(), packet.begin(), packet.end());
  engine_resets_.push_back(std::move(frame));
  schedule_flush();
}

// --- names --------------------------------------------------------------------------------------

// Over TCP only the guest's address is known; its flow to the DNS has the MAC.
Mac Gateway::asker(const DnsClient& client) {
  if (!client.over_tcp()) return client.path.guest;
  const Flow* flow = flows_.find({.guest = client.guest,
                                  .peer = client.asked,
                                  .guest_port = 0,
                                  .peer_port = kPortDns,
                                  .protocol = Protocol::kTcp});
  return flow == nullptr ? Mac{} : flow->guest_mac;
}

bool Gateway::may_ask(const DnsClient& client, const std::string& name) {
  if (policy_.is_open()) return true;
  const Policy::Verdict verdict = policy_.judge_question(name);
  if (verdict.allowed) return true;
  const Protocol protocol = client.over_tcp() ? Protocol::kTcp : Protocol::kUdp;
  const Target target{protocol, client.asked, kPortDns};
  flows_.deny_question({.guest = client.guest,
                        .peer = client.asked,
                        .guest_port = client.port,
                        .peer_port = kPortDns,
                        .protocol = protocol},
                       asker(client), name, cause_of(verdict), verdict.by());
  reasons_.tell(
      client.guest, target,
      denial(verdict, fmt::format("the question for {}", name), fmt::format("dns:{}", name)),
      "REFUSED");
  return false;
}

void Gateway::note_question(const DnsClient& client, std::span<const uint8_t> message,
                            FlowState outcome, std::optional<Cause> cause) {
  const auto dns = parse_dns(message);
  if (dns) flows_.end_question(lower_case(dns->question), asker(client), outcome, cause);
}

void Gateway::on_told(const DnsClient& client, std::span<const uint8_t> message) {
  const auto dns = parse_dns(message);
  if (!dns || dns->addresses.empty()) return;
  name_book_.learn(asker(client), lower_case(dns->question), dns->addresses);
}

}  // namespace netstack
