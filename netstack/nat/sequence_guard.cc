#include "netstack/nat/sequence_guard.h"

#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/frame/frame.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/pseudo_header.h"

namespace netstack {

namespace {

// How far a sequence number is from 0, negative below it (RFC 9293 §3.4: modulo 2^32).
int32_t from_zero(uint32_t seq) {
  return static_cast<int32_t>(seq);
}

// Where the segment's data begin. A SYN takes a number of its own.
uint32_t start_of(const Tcp& segment) {
  return segment.seq + ((segment.flags & kTcpSyn) != 0 ? 1U : 0U);
}

uint32_t end_of(const Tcp& segment) {
  return start_of(segment) + static_cast<uint32_t>(segment.payload.size());
}

void write_ip(const GuestPacket& packet, uint8_t* out) {
  if (packet.v6()) {
    write_ipv6({.payload_bytes = kTcpHeadBytes,
                .next_header = kProtocolTcp,
                .source = packet.source,
                .destination = packet.destination},
               out);
    return;
  }
  write_ipv4({.protocol = kProtocolTcp,
              .source = packet.source,
              .destination = packet.destination,
              .total_bytes = kIpv4HeadBytes + kTcpHeadBytes},
             out);
}

}  // namespace

SequenceGuard::Ruling SequenceGuard::judge(const Tcp& segment) {
  const auto kind = segment.flags & (kTcpSyn | kTcpRst | kTcpAck);
  if ((kind & kTcpRst) != 0) return Ruling::kPass;  // libslirp never looks at its data
  const bool has_fin = (segment.flags & kTcpFin) != 0;
  if (segment.payload.empty() && !has_fin) return Ruling::kPass;  // nothing to reassemble
  const uint32_t end = end_of(segment);
  if (end == 0) return Ruling::kRefuse;
  if (from_zero(start_of(segment)) >= 0 || from_zero(end) < -kRegionBytes) return Ruling::kPass;
  return kind == kTcpAck ? Ruling::kAsk : Ruling::kRefuse;
}

std::vector<uint8_t> SequenceGuard::ask(const GuestPacket& packet, const Tcp& segment) {
  check(!question_, "one question is open at a time");
  question_ = {.guest = packet.source,
               .peer = packet.destination,
               .guest_port = segment.source_port,
               .peer_port = segment.destination_port,
               .end = end_of(segment)};

  const size_t ip_bytes = packet.v6() ? kIpv6HeadBytes : kIpv4HeadBytes;
  std::vector<uint8_t> frame(kEthernetHeadBytes + ip_bytes + kTcpHeadBytes);
  packet.path.gateway.write(frame.data());
  packet.path.guest.write(&frame[6]);
  write_u16(&frame[12], packet.v6() ? kEthertypeIpv6 : kEthertypeIpv4);
  write_ip(packet, &frame[kEthernetHeadBytes]);

  const std::span<uint8_t> tcp_head = std::span(frame).subspan(kEthernetHeadBytes + ip_bytes);
  Tcp tcp{.source_port = segment.source_port,
          .destination_port = segment.destination_port,
          .seq = segment.seq - kFarBelowBytes,
          .ack = segment.ack,
          .flags = kTcpAck,
          .window = segment.window};
  write_tcp(tcp, tcp_head.data());
  tcp.checksum = transport_checksum(packet.source, packet.destination, kProtocolTcp, tcp_head);
  write_tcp(tcp, tcp_head.data());
  return frame;
}

void SequenceGuard::note(std::span<const uint8_t> frame) {
  const auto packet = parse_towards_guest(frame);
  if (!packet || packet->protocol != kProtocolTcp) return;
  if (packet->source != question_->peer || packet->destination != question_->guest) return;
  const auto tcp = parse_tcp(packet->transport);
  if (!tcp || tcp->source_port != question_->peer_port ||
      tcp->destination_port != question_->guest_port) {
    return;
  }
  question_->answered = true;
  const bool is_window = (tcp->flags & (kTcpAck | kTcpRst)) == kTcpAck;
  const auto beyond = static_cast<int32_t>(question_->end - (tcp->ack + tcp->window));
  if (!is_window || beyond > 0) question_->refused = true;
}

bool SequenceGuard::answer() {
  check(question_.has_value(), "an answer belongs to a question");
  const Question closed = *std::exchange(question_, std::nullopt);
  return closed.answered && !closed.refused;
}

}  // namespace netstack
