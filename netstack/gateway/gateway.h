#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/config/gateway_config.h"
#include "netstack/flows/flow_account.h"
#include "netstack/flows/fragments.h"
#include "netstack/flows/guest_packet.h"
#include "netstack/flows/name_book.h"
#include "netstack/flows/policy.h"
#include "netstack/forwards/forwards.h"
#include "netstack/forwards/guest_forwards.h"
#include "netstack/frame/port.h"
#include "netstack/gateway/guest_book.h"
#include "netstack/gateway/relayed_error.h"
#include "netstack/loop/loop.h"
#include "netstack/names/name_service.h"
#include "netstack/nat/connect_watch.h"
#include "netstack/nat/echo.h"
#include "netstack/nat/large_segments.h"
#include "netstack/nat/nat_engine.h"
#include "netstack/nat/sequence_guard.h"
#include "netstack/reachability/reachability.h"
#include "netstack/reachability/reason_book.h"
#include "netstack/reachability/route_verdicts.h"

namespace netstack {

// The MAC address libslirp gives one of its own addresses: 52:55 and the IPv4 address, or 52:56 and
// the last four bytes of the IPv6 address.
Mac engine_mac(const IpAddress& address);

// The guests' way out: a port of the switch behind which lie DHCP, DNS and the host's network.
//
//   switch ─► transmit ─┬─ ICMP echo to elsewhere ───► EchoProxy ─► ping sockets
//                       ├─ DHCP, DNS ────────────────► NameService ─► nameservers
//                       ├─ no route, TTL used up, … ─► ICMP error, and a line that says why
//                       └─ everything else ──────────► NatEngine ──► host sockets
//   switch ◄─ deliver, once per tick ◄── staged frames of all four
//
// The gateway looks at every packet before libslirp does, so that libslirp never meets what it
// handles badly: external ICMP, urgent data, TCP in fragments, TFTP, tags, destinations without a
// route.
class Gateway final : public Port {
 public:
  static constexpr size_t kStagedBytesMax = size_t{8} << 20U;  // for guests, within one tick
  static constexpr size_t kMtu = 1500;

  Gateway(Loop& loop, const GatewayConfig& config, Log& log);  // throws Error
  ~Gateway() override;

  // On each frame that tells a guest what is out of reach: the line of explain_line().
  std::span<const FrameNote> notes() const noexcept override { return notes_; }
  void forget_sender(PortId lan_port) noexcept override {
    names_.leave(lan_port);
    flows_.leave(lan_port);
  }
  NameService& names() { return names_; }
  ReasonBook& reasons() { return reasons_; }
  FlowAccount& flows() { return flows_; }
  Policy& policy() { return policy_; }
  const GuestBook& guests() const { return guests_; }
  const GatewayNetwork& network() const { return network_; }
  Forwards& forwards() { return forwards_; }

 private:
  size_t transmit(std::span<const Frame> burst) noexcept override;

  // The way of a guest's frame. `frame` is whole, untagged and ours to change.
  void take(std::span<uint8_t> frame);
  bool concerns_us(const GuestPacket& packet) const;
  void take_packet(const GuestPacket& packet, std::span<uint8_t> frame);
  void take_icmp(const GuestPacket& packet, std::span<uint8_t> frame);
  void take_fragment(const GuestPacket& packet);
  void take_tcp(const GuestPacket& packet, std::span<uint8_t> frame);
  void input_tcp(const GuestPacket& packet, std::span<uint8_t> frame);
  void take_udp(const GuestPacket& packet, std::span<uint8_t> frame);
  void input_udp(const GuestPacket& packet, const Target& target, std::span<uint8_t> frame);
  void take_guest_error(const GuestPacket& packet);
  void request_echo(const GuestPacket& packet);
  bool admit(const GuestPacket& packet, const Target& target);  // false: answered already
  bool admit_query(const GuestPacket& packet, const Target& target);
  bool admit_sequence(const GuestPacket& packet, const Tcp& tcp);

  // Policy and account: flow_gate.cc.
  bool pass_flow(const GuestPacket& packet);  // false: answered already
  bool deny_flow(const GuestPacket& packet, const FlowPacket& seen,
                 const FlowAccount::Opening& opening, const Policy::Verdict& verdict);
  void refuse_flow(const GuestPacket& packet, const FlowPacket& seen,
                   const FlowAccount::Opening& opening);
  bool pass_to_guest(std::span<const uint8_t> frame);  // false: its flow is denied
  void note_error(const FlowError& error);
  void on_policy_change();
  void end_denied(Flow& flow, const Policy::Verdict& verdict);
  bool may_ask(const DnsClient& client, const std::string& name);
  void note_question(const DnsClient& client, std::span<const uint8_t> message, FlowState outcome,
                     std::optional<Cause> cause = {});
  void on_told(const DnsClient& client, std::span<const uint8_t> message);
  FlowAccount::Opening describe(const FlowKey& key, const Mac& mac, bool inward) const;
  Policy::Verdict judge(const FlowKey& key, const Mac& mac);
  Mac asker(const DnsClient& client);
  bool is_service(const FlowKey& key) const;
  void reset_engine(const FlowKey& key, const Mac& mac, uint32_t seq);

  // Answers.
  void refuse(const GuestPacket& packet, const Target& target, const Reason& reason);
  void tell(const ReturnPath& path, const IpAddress& sender, const IpAddress& guest,
            const Target& target, const Reason& reason, std::span<const uint8_t> quoted);
  void on_echo_reply(const EchoReply& reply);
  void on_echo_error(const EchoError& error);
  bool on_query_failure(const DnsClient& client, std::span<const uint8_t> query,
                        const DnsFailure& failure);
  Reason explain_query(const DnsFailure& failure);
  void on_engine_frame(std::span<const uint8_t> frame, int send_errno);
  bool rework_error(std::span<const uint8_t> frame, int send_errno);
  void pass_on(const RelayedError& relayed);
  bool rework_reset(std::span<const uint8_t> frame);
  bool rework_loss(std::span<const uint8_t> frame, int engine_errno);
  std::string tell_loss(const FlowKey& key, int errno_value);
  std::optional<Reason> explain_connect(const Target& target, ConnectWatch::Outcome outcome);
  void stage_packet(const ReturnPath& path, std::span<const uint8_t> packet,
                    std::string_view note = {});
  void stage_fragments(std::span<const uint8_t> frame);
  void stage(std::span<const uint8_t> frame, std::string_view note = {});
  void schedule_flush();
  void flush();

  struct StagedNote {
    size_t frame;  // its index in staged_ends_
    size_t text_start;
    size_t text_size;  // in staged_text_
  };

  bool is_ours(const Mac& mac) const;
  bool is_ours(const IpAddress& address) const;
  bool is_nameserver(const IpAddress& address) const;
  bool is_guest(const IpAddress& address) const;
  Target on_host(Target target) const;
  IpAddress routable_sender(const IpAddress& offender) const;
  const IpAddress& own_address(bool v6) const { return v6 ? gateway6_ : gateway4_; }

  Loop& loop_;
  GatewayNetwork network_;
  bool leasing_;
  IpAddress gateway4_;
  IpAddress gateway6_ = GatewayNetwork::gateway6();
  Reachability reachability_;
  RouteVerdicts verdicts_;
  ReasonBook reasons_;
  Policy policy_;
  NameBook name_book_;
  FlowAccount flows_;
  std::vector<std::vector<uint8_t>> engine_resets_;  // frames for the engine, at the tick's end
  Reassembler reassembler_;
  LargeSegments large_;
  SequenceGuard sequences_;
  EchoProxy echo_;
  ConnectWatch connects_;
  std::optional<FlowKey> in_engine_;  // whose segment is in the engine
  bool sending_udp_ = false;          // a guest's datagram is in the engine
  int send_errno_ = 0;                // with which the host refused it
  NameService names_;
  GuestBook guests_;
  std::vector<uint8_t> staged_bytes_;
  std::vector<uint32_t> staged_ends_;  // where each staged frame ends
  std::string staged_text_;            // of all staged notes
  std::vector<StagedNote> staged_notes_;
  std::vector<FrameNote> notes_;  // on the burst that is being delivered
  bool flush_scheduled_ = false;
  uint16_t ip_id_ = 0;
  Forwards forwards_;
  GuestForwards guest_forwards_;
  NatEngine engine_;  // last: it calls back while it is constructed
};

}  // namespace netstack
