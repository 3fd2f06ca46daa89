#include "tests/packets/packets.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/checksum.h"
#include "netstack/wire/dhcp.h"
#include "netstack/wire/dns.h"

namespace packets {

using namespace netstack;

Mac mac(std::string_view text) {
  const std::string copy(text);
  Mac mac;
  auto& o = mac.octets;
  int used = 0;
  const int count = std::sscanf(copy.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &o[0], &o[1],
                                &o[2], &o[3], &o[4], &o[5], &used);
  check(count == 6 && static_cast<size_t>(used) == copy.size(), "a MAC address in a test is one");
  return mac;
}

IpAddress ip(std::string_view text) {
  const std::optional<IpAddress> address = IpAddress::parse(text);
  check(address.has_value(), "an IP address in a test is one");
  return *address;
}

// --- Builder ---------------------------------------------------------------------------------

Builder& Builder::eth(const Mac& source, const Mac& destination) {
  source_ = source;
  destination_ = destination;
  return *this;
}

Builder& Builder::eth(std::string_view source, std::string_view destination) {
  return eth(mac(source), mac(destination));
}

Builder& Builder::tag(uint16_t vid, uint8_t pcp, uint16_t tpid) {
  tags_.resize(tags_.size() + kTagBytes);
  write_u16(&tags_[tags_.size() - 4], tpid);
  write_u16(&tags_[tags_.size() - 2], static_cast<uint16_t>(pcp << 13U | vid));
  return *this;
}

Builder& Builder::ethertype(uint16_t type) {
  ethertype_ = type;
  return *this;
}

Builder& Builder::arp(uint16_t operation, std::string_view sender_ip, std::string_view target_ip) {
  transport_head_.resize(kArpBytes);
  write_arp({.operation = operation,
             .sender_mac = source_.octets,
             .sender_ip = packets::ip(sender_ip),
             .target_mac = operation == kArpRequest ? MacOctets{} : destination_.octets,
             .target_ip = packets::ip(target_ip)},
            transport_head_.data());
  return ethertype(kEthertypeArp);
}

Builder& Builder::arp_request(std::string_view sender_ip, std::string_view target_ip) {
  return arp(kArpRequest, sender_ip, target_ip);
}

Builder& Builder::arp_reply(std::string_view sender_ip, std::string_view target_ip) {
  return arp(kArpReply, sender_ip, target_ip);
}

Builder& Builder::ip(const IpAddress& source, const IpAddress& destination) {
  check(source.v6 == destination.v6, "both addresses of a packet are of one family");
  if (source.v6) {
    ipv6_.emplace();
    ipv6_->source = source;
    ipv6_->destination = destination;
    return ethertype(kEthertypeIpv6);
  }
  ipv4_.emplace();
  ipv4_->source = source;
  ipv4_->destination = destination;
  return ethertype(kEthertypeIpv4);
}

Builder& Builder::ip(std::string_view source, std::string_view destination) {
  return ip(packets::ip(source), packets::ip(destination));
}

Builder& Builder::ipv4(std::string_view source, std::string_view destination) {
  check(!packets::ip(source).v6, "ipv4() is given IPv4 addresses");
  return ip(source, destination);
}

Builder& Builder::ipv6(std::string_view source, std::string_view destination) {
  check(packets::ip(source).v6, "ipv6() is given IPv6 addresses");
  return ip(source, destination);
}

Builder& Builder::ttl(uint8_t ttl) {
  if (ipv4_) ipv4_->ttl = ttl;
  if (ipv6_) ipv6_->hop_limit = ttl;
  return *this;
}

Builder& Builder::protocol(uint8_t protocol) {
  check(ipv4_ || ipv6_, "an IP header comes before what it carries");
  if (ipv4_) ipv4_->protocol = protocol;
  if (ipv6_) ipv6_->next_header = protocol;
  return *this;
}

Builder& Builder::fragment(uint16_t offset, bool more) {
  check(ipv4_.has_value(), "fragment() follows ipv4()");
  ipv4_->fragment_offset = offset;
  ipv4_->more_fragments = more;
  return *this;
}

Builder& Builder::udp(uint16_t source_port, uint16_t destination_port) {
  transport_head_.resize(kUdpHeadBytes);
  write_udp({.source_port = source_port, .destination_port = destination_port},
            transport_head_.data());
  checksum_at_ = 6;
  return protocol(kProtocolUdp);
}

Builder& Builder::tcp(uint16_t source_port, uint16_t destination_port, uint8_t flags, uint32_t seq,
                      uint32_t ack) {
  transport_head_.resize(kTcpHeadBytes);
  write_tcp({.source_port = source_port,
             .destination_port = destination_port,
             .seq = seq,
             .ack = ack,
             .flags = flags,
             .window = 65'535},
            transport_head_.data());
  checksum_at_ = 16;
  return protocol(kProtocolTcp);
}

Builder& Builder::urgent(uint16_t pointer) {
  check(transport_head_.size() == kTcpHeadBytes, "urgent() follows tcp()");
  transport_head_[13] |= kTcpUrg;
  write_u16(&transport_head_[18], pointer);
  return *this;
}

Builder& Builder::echo(bool reply, uint16_t id, uint16_t seq) {
  const bool v6 = ipv6_.has_value();
  transport_head_.assign(kIcmpHeadBytes, 0);
  transport_head_[0] = v6 ? (reply ? kIcmpv6EchoReply : kIcmpv6EchoRequest)
                          : (reply ? kIcmpEchoReply : kIcmpEchoRequest);
  write_u16(&transport_head_[4], id);
  write_u16(&transport_head_[6], seq);
  checksum_at_ = 2;
  return protocol(v6 ? kProtocolIcmpv6 : kProtocolIcmp);
}

Builder& Builder::echo_request(uint16_t id, uint16_t seq) {
  return echo(false, id, seq);
}

Builder& Builder::echo_reply(uint16_t id, uint16_t seq) {
  return echo(true, id, seq);
}

Builder& Builder::neighbour(Ndp ndp) {
  ndp.link_layer = source_.octets;
  transport_head_.resize(kNdpHeadBytes + kNdpLinkLayerOptionBytes);
  write_ndp(ndp, transport_head_.data());
  checksum_at_ = 2;
  return ttl(kNdpHopLimit).protocol(kProtocolIcmpv6);
}

Builder& Builder::neighbour_solicitation(std::string_view target) {
  return neighbour({.target = packets::ip(target)});
}

Builder& Builder::neighbour_advertisement(std::string_view target) {
  return neighbour({.advertisement = true, .solicited = true, .target = packets::ip(target)});
}

Builder& Builder::payload(std::string_view text) {
  return payload({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

Builder& Builder::payload(std::span<const uint8_t> bytes) {
  payload_.assign(bytes.begin(), bytes.end());
  return *this;
}

Builder& Builder::payload_bytes(size_t size) {
  payload_.resize(size);
  for (size_t at = 0; at < size; ++at) payload_[at] = static_cast<uint8_t>(at);
  return *this;
}

Builder& Builder::ip_packet(std::span<const uint8_t> packet) {
  check(!packet.empty(), "an IP packet has a version");
  return payload(packet).ethertype(packet[0] >> 4U == 6 ? kEthertypeIpv6 : kEthertypeIpv4);
}

Builder& Builder::wrong_checksum() {
  checksum_kind_ = ChecksumKind::kWrong;
  return *this;
}

Builder& Builder::partial_checksum() {
  checksum_kind_ = ChecksumKind::kPartial;
  return *this;
}

Builder& Builder::pad_to(size_t frame_bytes) {
  pad_to_ = frame_bytes;
  return *this;
}

void Builder::fill_checksum(Bytes& segment) const {
  const IpAddress& source = ipv4_ ? ipv4_->source : ipv6_->source;
  const IpAddress& destination = ipv4_ ? ipv4_->destination : ipv6_->destination;
  const uint8_t protocol = ipv4_ ? ipv4_->protocol : ipv6_->next_header;
  uint16_t sum = protocol == kProtocolIcmp
                     ? internet_checksum(segment)
                     : transport_checksum(source, destination, protocol, segment);
  if (protocol == kProtocolUdp && sum == 0) sum = 0xffff;
  if (checksum_kind_ == ChecksumKind::kWrong) sum ^= 0x0101;
  if (checksum_kind_ == ChecksumKind::kPartial) {
    const Bytes zeros(segment.size());  // nothing but the pseudo-header counts
    sum = static_cast<uint16_t>(~transport_checksum(source, destination, protocol, zeros));
  }
  write_u16(&segment[*checksum_at_], sum);
}

Bytes Builder::segment() const {
  Bytes segment = transport_head_;
  segment.insert(segment.end(), payload_.begin(), payload_.end());
  if (!checksum_at_) return segment;
  if (transport_head_.size() == kUdpHeadBytes && *checksum_at_ == 6) {
    write_u16(&segment[4], static_cast<uint16_t>(segment.size()));
  }
  fill_checksum(segment);
  return segment;
}

Bytes Builder::network_layer() const {
  const Bytes inside = segment();
  if (!ipv4_ && !ipv6_) return inside;
  Bytes packet(ipv4_ ? kIpv4HeadBytes : kIpv6HeadBytes);
  check(packet.size() + inside.size() <= kIpv4PacketBytesMax, "an IP packet has at most 64 KiB");
  if (ipv4_) {
    Ipv4 head = *ipv4_;
    head.total_bytes = static_cast<uint16_t>(packet.size() + inside.size());
    write_ipv4(head, packet.data());
  } else {
    Ipv6 head = *ipv6_;
    head.payload_bytes = static_cast<uint16_t>(inside.size());
    write_ipv6(head, packet.data());
  }
  packet.insert(packet.end(), inside.begin(), inside.end());
  return packet;
}

Bytes Builder::build_ip() const {
  return network_layer();
}

Bytes Builder::build() const {
  Bytes frame(kEthernetHeadBytes - 2);
  destination_.write(&frame[0]);
  source_.write(&frame[6]);
  frame.insert(frame.end(), tags_.begin(), tags_.end());
  frame.resize(frame.size() + 2);
  write_u16(&frame[frame.size() - 2], ethertype_);
  const Bytes body = network_layer();
  frame.insert(frame.end(), body.begin(), body.end());
  if (frame.size() < pad_to_) frame.resize(pad_to_);
  return frame;
}

// --- parse_frame -------------------------------------------------------------------------------

namespace {

void parse_icmp(std::span<const uint8_t> message, bool v6, Parsed& parsed) {
  if (message.size() < kIcmpHeadBytes) return;
  parsed.icmp = Icmp{.type = message[0],
                     .code = message[1],
                     .rest = read_u32(&message[4]),
                     .quote = message.subspan(kIcmpHeadBytes),
                     .echo = parse_icmp_echo(message, v6),
                     .ndp = v6 ? parse_ndp(message) : std::nullopt};
}

void parse_transport(std::span<const uint8_t> segment, uint8_t protocol, Parsed& parsed) {
  const bool v6 = parsed.ipv6.has_value();
  if (protocol == kProtocolUdp) parsed.udp = parse_udp(segment);
  if (protocol == kProtocolTcp) parsed.tcp = parse_tcp(segment);
  if (protocol == (v6 ? kProtocolIcmpv6 : kProtocolIcmp)) parse_icmp(segment, v6, parsed);
  const uint16_t left =
      protocol == kProtocolIcmp
          ? internet_checksum(segment)
          : transport_checksum(parsed.source(), parsed.destination(), protocol, segment);
  const bool sent_without = parsed.udp && parsed.udp->checksum == 0 && !v6;
  const bool known = parsed.udp || parsed.tcp || parsed.icmp;
  parsed.transport_checksum_valid = known && (left == 0 || sent_without);
}

// Takes a tag at the front of `rest`, which begins at an ethertype.
std::optional<Tag> take_tag(std::span<const uint8_t>& rest) {
  if (rest.size() < kTagBytes + 2) return std::nullopt;
  const uint16_t tpid = read_u16(&rest[0]);
  if (tpid != kEthertypeVlan && tpid != kEthertypeServiceVlan) return std::nullopt;
  const uint16_t tci = read_u16(&rest[2]);
  rest = rest.subspan(kTagBytes);
  return Tag{.tpid = tpid,
             .pcp = static_cast<uint8_t>(tci >> 13U),
             .dei = (tci & 0x1000U) != 0,
             .vid = static_cast<uint16_t>(tci & 0x0fffU)};
}

}  // namespace

IpAddress Parsed::source() const {
  return ipv4 ? ipv4->source : ipv6 ? ipv6->source : IpAddress{};
}

IpAddress Parsed::destination() const {
  return ipv4 ? ipv4->destination : ipv6 ? ipv6->destination : IpAddress{};
}

std::string_view Parsed::text() const {
  std::span<const uint8_t> bytes;
  if (udp) bytes = udp->payload;
  if (tcp) bytes = tcp->payload;
  if (icmp && icmp->echo) bytes = icmp->echo->payload;
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Parsed parse_ip(std::span<const uint8_t> packet) {
  Parsed parsed;
  parsed.ipv4 = parse_ipv4(packet);
  parsed.ipv6 = parse_ipv6(packet);
  if (parsed.ipv4 && !parsed.ipv4->is_fragment()) {
    parse_transport(ipv4_payload(*parsed.ipv4, packet), parsed.ipv4->protocol, parsed);
  }
  const std::optional<Ipv6Upper> upper = skip_extensions(packet);
  if (upper && !upper->fragment) {
    parse_transport(ipv6_payload(*parsed.ipv6, *upper, packet), upper->next_header, parsed);
  }
  return parsed;
}

Parsed parse_frame(std::span<const uint8_t> frame) {
  if (frame.size() < kEthernetHeadBytes) return {};
  std::span<const uint8_t> rest = frame.subspan(12);
  const std::optional<Tag> tag = take_tag(rest);
  const std::optional<Tag> inner_tag = tag ? take_tag(rest) : std::nullopt;
  const uint16_t type = read_u16(rest.data());
  const std::span<const uint8_t> body = rest.subspan(2);

  Parsed parsed;
  const unsigned version = body.empty() ? 0 : body[0] >> 4U;
  if (type == (version == 4 ? kEthertypeIpv4 : kEthertypeIpv6)) parsed = parse_ip(body);
  if (type == kEthertypeArp) parsed.arp = parse_arp(body);
  parsed.eth =
      Eth{.source = Mac::read(&frame[6]), .destination = Mac::read(&frame[0]), .ethertype = type};
  parsed.tag = tag;
  parsed.inner_tag = inner_tag;
  return parsed;
}

// --- describe ----------------------------------------------------------------------------------

namespace {

std::string describe_arp(const Arp& arp) {
  if (arp.operation == kArpRequest) {
    return fmt::format("arp who-has {} tell {}", to_string(arp.target_ip),
                       to_string(arp.sender_ip));
  }
  return fmt::format("arp {} is-at {}", to_string(arp.sender_ip), to_string(Mac{arp.sender_mac}));
}

std::string describe_icmp(const Icmp& icmp, bool v6) {
  const std::string_view name = v6 ? "icmp6" : "icmp";
  if (icmp.echo) {
    return fmt::format("{} echo {} id {} seq {}", name, icmp.echo->reply ? "reply" : "request",
                       icmp.echo->id, icmp.echo->seq);
  }
  if (icmp.ndp) {
    return fmt::format("{} {} {}", name, icmp.ndp->advertisement ? "advertises" : "who-has",
                       to_string(icmp.ndp->target));
  }
  return fmt::format("{} type {} code {}", name, icmp.type, icmp.code);
}

std::string describe_udp(const Udp& udp) {
  std::string text = fmt::format("udp {} → {} {} bytes", udp.source_port, udp.destination_port,
                                 udp.payload.size());
  const auto has_port = [&](uint16_t port) {
    return udp.source_port == port || udp.destination_port == port;
  };
  if (has_port(kPortDhcpServer)) {
    if (const auto dhcp = parse_dhcp(udp.payload)) {
      text +=
          fmt::format(" dhcp type {} {}", static_cast<int>(dhcp->type), to_string(dhcp->your_ip));
    }
  } else if (has_port(kPortDns)) {
    if (const auto dns = parse_dns(udp.payload)) text += fmt::format(" dns {}", dns->question);
  }
  return text;
}

std::string describe_tcp(const Tcp& tcp) {
  constexpr std::array<std::string_view, 8> kNames{"FIN", "SYN", "RST", "PSH",
                                                   "ACK", "URG", "ECE", "CWR"};
  std::string flags;
  for (size_t bit = 0; bit < kNames.size(); ++bit) {
    if ((tcp.flags >> bit & 1U) != 0) flags += fmt::format(" {}", kNames[bit]);
  }
  return fmt::format("tcp {} → {}{} seq {} ack {} {} bytes", tcp.source_port, tcp.destination_port,
                     flags, tcp.seq, tcp.ack, tcp.payload.size());
}

std::string describe_inside(const Parsed& parsed) {
  if (parsed.arp) return describe_arp(*parsed.arp);
  if (!parsed.ipv4 && !parsed.ipv6) {
    return fmt::format("ethertype 0x{:04x}, not understood", parsed.eth->ethertype);
  }
  std::string text =
      fmt::format("{} → {} ", to_string(parsed.source()), to_string(parsed.destination()));
  if (parsed.icmp) {
    text += describe_icmp(*parsed.icmp, parsed.ipv6.has_value());
  } else if (parsed.udp) {
    text += describe_udp(*parsed.udp);
  } else if (parsed.tcp) {
    text += describe_tcp(*parsed.tcp);
  } else if (parsed.ipv4 && parsed.ipv4->is_fragment()) {
    return text + fmt::format("fragment at {}", parsed.ipv4->fragment_offset);
  } else {
    return text + fmt::format("protocol {}",
                              parsed.ipv4 ? parsed.ipv4->protocol : parsed.ipv6->next_header);
  }
  return parsed.transport_checksum_valid ? text : text + " (wrong checksum)";
}

}  // namespace

std::string describe(std::span<const uint8_t> frame) {
  const Parsed parsed = parse_frame(frame);
  if (!parsed.eth) return fmt::format("a runt of {} bytes", frame.size());
  std::string text =
      fmt::format("{} → {} ", to_string(parsed.eth->source), to_string(parsed.eth->destination));
  for (const std::optional<Tag>& tag : {parsed.tag, parsed.inner_tag}) {
    if (tag) text += fmt::format("vlan {} ", tag->vid);
  }
  return text + describe_inside(parsed);
}

std::string describe(std::span<const Bytes> frames) {
  std::string text;
  for (const Bytes& frame : frames) text += describe(frame) + "\n";
  return text;
}

}  // namespace packets
