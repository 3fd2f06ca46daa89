// Every codec: what it writes it reads, the fields stand where the specification puts them, and no
// input, cut or random, makes a parser read outside it (the inputs live in buffers of exactly
// their size, so AddressSanitizer sees one byte too many).
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/checksum.h"
#include "netstack/wire/arp.h"
#include "netstack/wire/dhcp.h"
#include "netstack/wire/dns.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/ndp.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Builder;
using packets::Bytes;
using packets::describe;
using packets::ip;
using packets::parse_ip;

namespace {

constexpr std::string_view kGuest = "10.0.2.15";
constexpr std::string_view kRemote = "192.0.2.7";
constexpr std::string_view kGuest6 = "2001:db8::15";
constexpr std::string_view kRemote6 = "2001:db8:1::7";

Builder from_guest() {
  return Builder().ip(kGuest, kRemote);
}

Builder from_guest6() {
  return Builder().ip(kGuest6, kRemote6);
}

bool inside(std::span<const uint8_t> part, std::span<const uint8_t> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

// Runs every parser over `bytes` and holds what they return to what they promise.
void parse_as_everything(std::span<const uint8_t> bytes) {
  const auto stays_inside = [&](std::span<const uint8_t> part) { REQUIRE(inside(part, bytes)); };
  if (const auto ip4 = parse_ipv4(bytes)) stays_inside(ipv4_payload(*ip4, bytes));
  if (const auto upper = skip_extensions(bytes)) {
    stays_inside(ipv6_payload(*parse_ipv6(bytes), *upper, bytes));
  }
  if (const auto echo = parse_icmp_echo(bytes, false)) stays_inside(echo->payload);
  if (const auto echo = parse_icmp_echo(bytes, true)) stays_inside(echo->payload);
  if (const auto udp = parse_udp(bytes)) stays_inside(udp->payload);
  if (const auto tcp = parse_tcp(bytes)) stays_inside(tcp->payload);
  if (const auto dhcp = parse_dhcp(bytes)) {
    stays_inside({reinterpret_cast<const uint8_t*>(dhcp->hostname.data()), dhcp->hostname.size()});
  }
  if (const auto dns = parse_dns(bytes)) REQUIRE(dns->addresses.size() <= kDnsAddressesMax);
  parse_arp(bytes);
  parse_ndp(bytes);
  if (may_answer_with_error(bytes)) REQUIRE((parse_ipv4(bytes) || parse_ipv6(bytes)));
  const packets::Parsed parsed = packets::parse_frame(bytes);
  stays_inside({reinterpret_cast<const uint8_t*>(parsed.text().data()), parsed.text().size()});
  REQUIRE_FALSE(describe(bytes).empty());
}

// A copy in a heap block of exactly its size.
class Exact {
 public:
  explicit Exact(std::span<const uint8_t> bytes)
      : data_(std::make_unique<uint8_t[]>(bytes.size())), size_(bytes.size()) {
    std::ranges::copy(bytes, data_.get());
  }
  std::span<uint8_t> bytes() { return {data_.get(), size_}; }

 private:
  std::unique_ptr<uint8_t[]> data_;
  size_t size_;
};

Bytes with_tail(std::vector<uint8_t> bytes, size_t padding) {
  bytes.resize(bytes.size() + padding, 0xee);
  return bytes;
}

// A response that needs compression to be read: question, CNAME, and an address for its target.
Bytes dns_response() {
  Bytes message = *make_dns_query("www.example.com", DnsType::kA, 0x1234);
  write_u16(&message[2], 0x8180);
  write_u16(&message[6], 2);
  const auto add = [&](std::initializer_list<int> bytes) {
    for (const int byte : bytes) message.push_back(static_cast<uint8_t>(byte));
  };
  // www.example.com (at 12) CNAME web.example.com (".example.com" is at 16)
  add({0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 6, 3, 'w', 'e', 'b', 0xc0, 16});
  add({0xc0, 45, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80});
  return message;
}

Dhcp offer() {
  Dhcp dhcp;
  dhcp.type = DhcpType::kOffer;
  dhcp.from_server = true;
  dhcp.broadcast = true;
  dhcp.xid = 0xdeadbeef;
  dhcp.client_mac = packets::mac("52:54:00:12:34:56").octets;
  dhcp.your_ip = ip(kGuest);
  dhcp.server_id = dhcp.router = ip("10.0.2.2");
  dhcp.subnet_mask = ip("255.255.255.0");
  dhcp.dns = ip("10.0.2.3");
  dhcp.lease_seconds = 86'400;
  dhcp.hostname = "guest";
  return dhcp;
}

std::vector<Bytes> samples() {
  const Builder frame = Builder().eth("52:54:00:00:00:01", "52:55:0a:00:02:02");
  const auto error = make_icmp_error(ip("10.0.2.2"), ip(kGuest), kIcmpUnreachable, 0, 0,
                                     from_guest().udp(1, 2).payload("x").build_ip());
  const Bytes dhcp = make_dhcp(offer());
  const auto behind_head = [](const Bytes& packet) {
    return Bytes(packet.begin() + (packet[0] >> 4U == 6 ? 40 : 20), packet.end());
  };
  return {
      behind_head(from_guest().udp(1024, 9).payload("x").build_ip()),
      behind_head(from_guest().tcp(1024, 80, kTcpSyn).payload("x").build_ip()),
      behind_head(from_guest().echo_request(7, 1).payload("ping").build_ip()),
      behind_head(from_guest6().neighbour_solicitation(kRemote6).build_ip()),
      from_guest().udp(68, 67).payload(dhcp).build_ip(),
      from_guest().udp(53, 53).payload(dns_response()).build_ip(),
      from_guest().tcp(1024, 80, kTcpSyn, 1).build_ip(),
      from_guest().echo_request(7, 1).payload("ping").build_ip(),
      from_guest6().udp(1024, 53).payload("x").build_ip(),
      from_guest6().echo_reply(7, 1).payload("pong").build_ip(),
      from_guest6().neighbour_solicitation(kRemote6).build_ip(),
      error,
      dhcp,
      dns_response(),
      Builder(frame).tag(42).arp_request(kGuest, "10.0.2.2").build(),
      Builder(frame).tag(1).tag(2).ip(kGuest, kRemote).tcp(1, 2, kTcpAck).payload("x").build(),
      Builder(frame).ip(kGuest6, kRemote6).neighbour_advertisement(kGuest6).build(),
      Builder(frame).ip(kGuest, kRemote).fragment(8, true).protocol(kProtocolUdp).build(),
  };
}

}  // namespace

TEST_CASE("numbers are big-endian") {
  std::array<uint8_t, 7> bytes{};
  write_u16(&bytes[1], 0xa1b2);
  write_u32(&bytes[3], 0xc3d4e5f6);
  CHECK(bytes == std::array<uint8_t, 7>{0, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6});
  CHECK(read_u16(&bytes[1]) == 0xa1b2);
  CHECK(read_u32(&bytes[3]) == 0xc3d4e5f6);
}

TEST_CASE("every prefix of every sample is parsed without harm") {
  for (const Bytes& whole : samples()) {
    INFO(describe(whole));
    for (size_t size = 0; size <= whole.size(); ++size) {
      Exact cut({whole.data(), size});
      parse_as_everything(cut.bytes());
    }
  }
}

TEST_CASE("samples with random damage are parsed without harm") {
  constexpr int kRounds = 100'000;
  std::mt19937 random(20'240'607);
  const std::vector<Bytes> from = samples();
  for (int round = 0; round < kRounds; ++round) {
    Bytes bytes = from[random() % from.size()];
    bytes.resize(random() % 4 == 0 ? random() % (bytes.size() + 1) : bytes.size());
    const size_t damaged = random() % 8 == 0 ? bytes.size() : random() % 6;
    for (size_t count = 0; count < damaged && !bytes.empty(); ++count) {
      bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    }
    if (random() % 2 == 0 && bytes.size() >= kIpv4HeadBytes) {  // get past the header checksum
      const size_t head = std::min<size_t>((bytes[0] & 15U) * 4, bytes.size());
      write_u16(&bytes[10], 0);
      if (head >= kIpv4HeadBytes) write_u16(&bytes[10], internet_checksum({bytes.data(), head}));
    }
    Exact input(bytes);
    CAPTURE(round);
    parse_as_everything(input.bytes());
    clear_urgent(input.bytes());
  }
}

TEST_CASE("IPv4: fields stand where RFC 791 §3.1 puts them") {
  const Ipv4 head{.tos = 0,
                  .id = 0,
                  .dont_fragment = true,
                  .ttl = 64,
                  .protocol = kProtocolUdp,
                  .source = ip("192.168.0.1"),
                  .destination = ip("192.168.0.199"),
                  .total_bytes = 115};
  std::array<uint8_t, kIpv4HeadBytes> out{};
  write_ipv4(head, out.data());
  CHECK(out == std::array<uint8_t, 20>{0x45, 0,    0,   0x73, 0, 0, 0x40, 0,   0x40, 0x11,
                                       0xb8, 0x61, 192, 168,  0, 1, 192,  168, 0,    199});
}

TEST_CASE("IPv4: what is written is read, fragments too") {
  for (const auto& [offset, more, whole] :
       {std::tuple{0, false, true}, {0, true, false}, {65'528, false, false}, {8, true, false}}) {
    Ipv4 head{.tos = 0xb8,
              .id = 0xabcd,
              .more_fragments = more,
              .fragment_offset = static_cast<uint16_t>(offset),
              .ttl = 3,
              .protocol = kProtocolTcp,
              .source = ip(kGuest),
              .destination = ip(kRemote),
              .total_bytes = 24};
    Bytes packet(24);
    write_ipv4(head, packet.data());
    const auto read = parse_ipv4(with_tail(packet, 22));
    REQUIRE(read);
    CHECK(read->tos == 0xb8);
    CHECK(read->id == 0xabcd);
    CHECK(read->more_fragments == more);
    CHECK(read->fragment_offset == offset);
    CHECK(read->is_fragment() != whole);
    CHECK(read->ttl == 3);
    CHECK(read->protocol == kProtocolTcp);
    CHECK(read->source == ip(kGuest));
    CHECK(read->destination == ip(kRemote));
    CHECK(read->total_bytes == 24);
    CHECK(ipv4_payload(*read, with_tail(packet, 22)).size() == 4);
  }
}

TEST_CASE("IPv4: lengths that contradict each other and wrong sums are refused") {
  const Bytes good = from_guest().udp(1, 2).payload("1234").build_ip();
  REQUIRE(parse_ipv4(good));
  const auto with = [&](size_t at, uint8_t value) {
    Bytes bytes = good;
    bytes[at] = value;
    write_u16(&bytes[10], 0);
    const size_t head = std::min<size_t>((bytes[0] & 15U) * 4, bytes.size());
    write_u16(&bytes[10], internet_checksum({bytes.data(), head}));
    return bytes;
  };
  CHECK(parse_ipv4(with(8, 9)));           // another TTL, resummed
  CHECK_FALSE(parse_ipv4(with(0, 0x44)));  // header of 16 bytes
  CHECK_FALSE(parse_ipv4(with(0, 0x4f)));  // header of 60 in a packet of 32
  CHECK_FALSE(parse_ipv4(with(0, 0x65)));  // version 6
  CHECK_FALSE(parse_ipv4(with(3, 33)));    // longer than what is there
  CHECK_FALSE(parse_ipv4(with(3, 19)));    // shorter than its header
  Bytes wrong = good;
  wrong[8] ^= 1;
  CHECK_FALSE(parse_ipv4(wrong));
}

TEST_CASE("IPv4: options belong to the header") {
  Bytes packet = from_guest().udp(1, 2).payload("1234").build_ip();
  packet.insert(packet.begin() + 20, {1, 1, 1, 0});  // no-operation three times, end of options
  packet[0] = 0x46;
  packet[3] = static_cast<uint8_t>(packet.size());
  write_u16(&packet[10], 0);
  write_u16(&packet[10], internet_checksum({packet.data(), 24}));
  const auto read = parse_ipv4(packet);
  REQUIRE(read);
  CHECK(read->header_bytes == 24);
  CHECK(parse_udp(ipv4_payload(*read, packet))->payload.size() == 4);
}

TEST_CASE("IPv6: what is written is read, and stands where RFC 8200 §3 puts it") {
  const Ipv6 head{.traffic_class = 0xb8,
                  .flow_label = 0xabcde,
                  .payload_bytes = 3,
                  .next_header = kProtocolUdp,
                  .hop_limit = 9,
                  .source = ip(kGuest6),
                  .destination = ip(kRemote6)};
  Bytes packet(43);
  write_ipv6(head, packet.data());
  CHECK(Bytes(packet.begin(), packet.begin() + 8) == Bytes{0x6b, 0x8a, 0xbc, 0xde, 0, 3, 17, 9});
  const auto read = parse_ipv6(with_tail(packet, 5));
  REQUIRE(read);
  CHECK(read->traffic_class == 0xb8);
  CHECK(read->flow_label == 0xabcde);
  CHECK(read->payload_bytes == 3);
  CHECK(read->source == ip(kGuest6));
  CHECK(read->destination == ip(kRemote6));
  packet.pop_back();
  CHECK_FALSE(parse_ipv6(packet));
}

TEST_CASE("IPv6: extension headers are walked to the end and no further") {
  const auto packet = [](const Bytes& extensions, uint8_t first) {
    return from_guest6().protocol(first).payload(extensions).build_ip();
  };
  const Bytes udp{0, 1, 0, 2, 0, 8, 0, 0};
  const auto before_udp = [&](Bytes bytes) {
    bytes.insert(bytes.end(), udp.begin(), udp.end());
    return bytes;
  };
  SUBCASE("none") {
    const auto upper = skip_extensions(packet(udp, kProtocolUdp));
    REQUIRE(upper);
    CHECK(upper->next_header == kProtocolUdp);
    CHECK(upper->offset == 40);
  }
  SUBCASE("hop-by-hop, destination options of 16 bytes, routing") {
    Bytes bytes{kNextDestinationOptions, 0, 1, 4, 0, 0, 0, 0};
    bytes.insert(bytes.end(), {kNextRouting, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    bytes.insert(bytes.end(), {kProtocolUdp, 0, 0, 0, 0, 0, 0, 0});
    const auto upper = skip_extensions(packet(before_udp(bytes), kNextHopByHop));
    REQUIRE(upper);
    CHECK(upper->next_header == kProtocolUdp);
    CHECK(upper->offset == 40 + 32);
    CHECK_FALSE(upper->fragment);
  }
  SUBCASE("a fragment header: the first goes on, another stops") {
    // its second byte is reserved and no length
    const auto first =
        skip_extensions(packet(before_udp({kProtocolUdp, 200, 0, 1, 0, 0, 0, 7}), kNextFragment));
    REQUIRE(first);
    CHECK(first->fragment);
    CHECK(first->more_fragments);
    CHECK(first->fragment_offset == 0);
    CHECK(first->next_header == kProtocolUdp);
    const auto second = skip_extensions(
        packet(before_udp({kNextRouting, 0, 0x05, 0xa8, 0, 0, 0, 7}), kNextFragment));
    REQUIRE(second);
    CHECK(second->fragment_offset == 0x5a8);
    CHECK(second->next_header == kNextRouting);
    CHECK(second->offset == 48);
  }
  SUBCASE("too many, too long, cut short") {
    Bytes chain;
    for (unsigned count = 0; count < kExtensionHeadersMax; ++count) {
      chain.insert(chain.end(), {kNextDestinationOptions, 0, 1, 4, 0, 0, 0, 0});
    }
    CHECK_FALSE(skip_extensions(packet(chain, kNextDestinationOptions)));
    chain[chain.size() - 8] = kNextNone;
    CHECK(skip_extensions(packet(chain, kNextDestinationOptions))->next_header == kNextNone);
    CHECK_FALSE(skip_extensions(packet({kProtocolUdp, 1, 0, 0, 0, 0, 0, 0}, kNextHopByHop)));
    CHECK_FALSE(skip_extensions(packet({kProtocolUdp, 0, 0, 0}, kNextHopByHop)));
  }
}

TEST_CASE("transport checksums: a right segment leaves 0, of either family") {
  for (const Builder& packet : {from_guest(), from_guest6()}) {
    for (const size_t size : {0, 1, 2, 1001}) {
      const Bytes bytes = Builder(packet).tcp(1, 2, kTcpAck).payload_bytes(size).build_ip();
      CHECK(parse_ip(bytes).transport_checksum_valid);
      const Bytes wrong =
          Builder(packet).tcp(1, 2, kTcpAck).payload_bytes(size).wrong_checksum().build_ip();
      CHECK_FALSE(parse_ip(wrong).transport_checksum_valid);
    }
  }
  // RFC 768 by hand: 10.0.2.15 → 192.0.2.7, protocol 17, length 8, ports 1 and 2, length 8
  const std::array<uint8_t, 8> segment{0, 1, 0, 2, 0, 8, 0, 0};
  const uint32_t sum = 0x0a00 + 0x020f + 0xc000 + 0x0207 + 17 + 8 + 1 + 2 + 8;
  CHECK(transport_checksum(ip(kGuest), ip(kRemote), kProtocolUdp, segment) ==
        static_cast<uint16_t>(~sum));
}

TEST_CASE("UDP: padding is not payload, a length that lies is refused") {
  std::array<uint8_t, kUdpHeadBytes + 4> segment{};
  const auto with_length = [&](uint16_t length) {
    write_udp({.source_port = 1000, .destination_port = 53, .length = length}, segment.data());
    return parse_udp(segment);
  };
  const auto read = with_length(10);
  REQUIRE(read);
  CHECK(read->source_port == 1000);
  CHECK(read->destination_port == 53);
  CHECK(read->payload.size() == 2);
  CHECK(with_length(12)->payload.size() == 4);
  CHECK(with_length(8)->payload.empty());
  CHECK_FALSE(with_length(7));
  CHECK_FALSE(with_length(0));
  CHECK_FALSE(with_length(13));
}

TEST_CASE("TCP: what is written is read, a data offset that lies is refused") {
  Bytes segment(kTcpHeadBytes + 4);
  write_tcp({.source_port = 1024,
             .destination_port = 80,
             .seq = 0x01020304,
             .ack = 0xfffefdfc,
             .flags = kTcpSyn | kTcpAck,
             .window = 0x7210,
             .checksum = 0xbeef,
             .urgent = 5},
            segment.data());
  const auto read = parse_tcp(segment);
  REQUIRE(read);
  CHECK(read->source_port == 1024);
  CHECK(read->destination_port == 80);
  CHECK(read->seq == 0x01020304);
  CHECK(read->ack == 0xfffefdfc);
  CHECK(read->flags == (kTcpSyn | kTcpAck));
  CHECK(read->window == 0x7210);
  CHECK(read->checksum == 0xbeef);
  CHECK(read->urgent == 5);
  CHECK(read->payload.size() == 4);
  segment[12] = 0x60;
  CHECK(parse_tcp(segment)->payload.empty());
  for (const int offset : {0x00, 0x40, 0x70, 0xf0}) {
    segment[12] = static_cast<uint8_t>(offset);
    CHECK_FALSE(parse_tcp(segment));
  }
}

TEST_CASE("ARP: fields stand where RFC 826 puts them") {
  const Arp arp{.operation = kArpReply,
                .sender_mac = {2, 0, 0, 0, 0, 1},
                .sender_ip = ip("10.0.2.2"),
                .target_mac = {2, 0, 0, 0, 0, 9},
                .target_ip = ip(kGuest)};
  Bytes out(kArpBytes);
  write_arp(arp, out.data());
  CHECK(out == Bytes{0,  1, 8, 0, 6, 4, 0, 2, 2, 0, 0,  0, 0, 1,
                     10, 0, 2, 2, 2, 0, 0, 0, 0, 9, 10, 0, 2, 15});
  const auto read = parse_arp(with_tail(out, 18));
  REQUIRE(read);
  CHECK(read->operation == kArpReply);
  CHECK(read->sender_mac == arp.sender_mac);
  CHECK(read->sender_ip == arp.sender_ip);
  CHECK(read->target_mac == arp.target_mac);
  CHECK(read->target_ip == arp.target_ip);
  for (size_t at = 0; at < 6; ++at) {
    Bytes other = out;
    ++other[at];
    CHECK_FALSE(parse_arp(other));
  }
}

TEST_CASE("NDP: what is written is read, options that lie are refused") {
  Bytes out(kNdpHeadBytes + kNdpLinkLayerOptionBytes);
  const Ndp advertisement{.advertisement = true,
                          .from_router = true,
                          .overriding = true,
                          .target = ip(kGuest6),
                          .link_layer = MacOctets{2, 0, 0, 0, 0, 1}};
  REQUIRE(write_ndp(advertisement, out.data()) == out.size());
  auto read = parse_ndp(out);
  REQUIRE(read);
  CHECK(read->advertisement);
  CHECK(read->from_router);
  CHECK_FALSE(read->solicited);
  CHECK(read->overriding);
  CHECK(read->target == ip(kGuest6));
  CHECK(read->link_layer == advertisement.link_layer);

  Bytes other = out;
  other[24] = 1;  // a source address has no business in an advertisement
  CHECK_FALSE(parse_ndp(other)->link_layer);
  for (const int length : {0, 2, 255}) {
    other[25] = static_cast<uint8_t>(length);
    CHECK_FALSE(parse_ndp(other));
  }
  other = out;
  other[8] = 0xff;
  CHECK_FALSE(parse_ndp(other));  // a group as target
  const Ndp solicitation{.target = ip(kRemote6)};
  REQUIRE(write_ndp(solicitation, out.data()) == kNdpHeadBytes);
  read = parse_ndp(std::span(out).first(kNdpHeadBytes));
  REQUIRE(read);
  CHECK_FALSE(read->advertisement);
  CHECK_FALSE(read->link_layer);
}
