#include "netstack/frame/segment.h"

#include <doctest/doctest.h>

#include <memory>

#include "netstack/base/bytes.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Builder;
using packets::Bytes;

namespace {

constexpr auto kA = "52:54:00:00:00:01";
constexpr auto kB = "52:54:00:00:00:02";
constexpr uint8_t kAllFlags = kTcpAck | kTcpPsh | kTcpFin | kTcpCwr | kTcpEce;

Builder super_tcp(bool v6, size_t payload_size) {
  Builder builder;
  builder.eth(kA, kB);
  v6 ? builder.ip("2001:db8::1", "2001:db8::2") : builder.ip("192.0.2.1", "192.0.2.2");
  return builder.tcp(1000, 80, kAllFlags, 0xffff'fff0U, 77).payload_bytes(payload_size);
}

struct Cut {
  std::optional<DropReason> wrong;
  std::vector<Bytes> frames;
  size_t largest_burst = 0;
};

// Cuts `bytes`, whose view must outlive the segments.
Cut cut(const Bytes& bytes, Gso gso) {
  Frame frame;
  iovec body{};
  REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
  const auto segmenter = std::make_unique<Segmenter>();
  Cut result;
  result.wrong = segmenter->begin(frame, gso);
  for (auto burst = segmenter->next(); !burst.empty(); burst = segmenter->next()) {
    result.largest_burst = std::max(result.largest_burst, burst.size());
    for (const Frame& segment : burst) {
      Bytes copy(segment.bytes);
      CHECK(copy_frame(segment, copy.data()) == segment.bytes);
      CHECK_FALSE(segment.offload.needs_checksum);
      result.frames.push_back(std::move(copy));
    }
  }
  return result;
}

// An IPv4 frame with 12 bytes of TCP options (no-operations), right in all but its checksums.
Bytes with_tcp_options(size_t payload_size) {
  Bytes bytes = super_tcp(false, payload_size).build();
  const size_t tcp = kEthernetHeadBytes + kIpv4HeadBytes;
  const size_t options_size = 12;
  bytes.insert(bytes.begin() + tcp + kTcpHeadBytes, options_size, 1);
  bytes[tcp + 12] = static_cast<uint8_t>((kTcpHeadBytes + options_size) / 4 << 4U);
  write_u16(&bytes[kEthernetHeadBytes + 2],
            static_cast<uint16_t>(bytes.size() - kEthernetHeadBytes));
  return bytes;
}

}  // namespace

TEST_CASE("TCP: each segment is as the sender would have made it, over both families") {
  for (const bool v6 : {false, true}) {
    CAPTURE(v6);
    const Bytes super = super_tcp(v6, 3500).partial_checksum().build();
    const auto whole = packets::parse_frame(super);
    const Cut result = cut(super, {v6 ? Gso::Kind::kTcp6 : Gso::Kind::kTcp4, 1000});
    REQUIRE_FALSE(result.wrong);
    REQUIRE(result.frames.size() == 4);
    std::string payload;
    for (size_t i = 0; i < 4; ++i) {
      CAPTURE(i);
      INFO(packets::describe(result.frames[i]));
      const auto segment = packets::parse_frame(result.frames[i]);
      REQUIRE(segment.tcp);  // so the IPv4 header checksum and all lengths are right
      CHECK(segment.transport_checksum_valid);
      CHECK(segment.tcp->seq == static_cast<uint32_t>(0xffff'fff0U + i * 1000));  // wraps
      CHECK(segment.tcp->ack == 77);
      const uint8_t expected =
          kTcpAck | kTcpEce | (i == 0 ? kTcpCwr : 0) | (i == 3 ? kTcpPsh | kTcpFin : 0);
      CHECK(segment.tcp->flags == expected);
      if (!v6) CHECK(segment.ipv4->id == static_cast<uint16_t>(whole.ipv4->id + i));
      CHECK(segment.text().size() == (i == 3 ? 500 : 1000));
      payload += segment.text();
    }
    CHECK(payload == whole.text());
  }
}

TEST_CASE("TCP: options go into every segment") {
  const Bytes super = with_tcp_options(2000);
  const Cut result = cut(super, {Gso::Kind::kTcp4, 1448});
  REQUIRE(result.frames.size() == 2);
  for (const Bytes& frame : result.frames) {
    const auto segment = packets::parse_frame(frame);
    REQUIRE(segment.tcp);
    CHECK(segment.tcp->header_bytes == 32);
    CHECK(segment.transport_checksum_valid);
  }
  CHECK(result.frames[0].size() == 1514);
}

TEST_CASE("UDP: datagrams with lengths and checksums of their own") {
  for (const bool v6 : {false, true}) {
    CAPTURE(v6);
    Builder builder;
    builder.eth(kA, kB);
    v6 ? builder.ip("2001:db8::1", "2001:db8::2") : builder.ip("192.0.2.1", "192.0.2.2");
    const Bytes super = builder.udp(5, 6).payload_bytes(1201).wrong_checksum().build();
    const Cut result = cut(super, {Gso::Kind::kUdp, 600});
    REQUIRE(result.frames.size() == 3);
    const size_t sizes[] = {600, 600, 1};
    for (size_t i = 0; i < 3; ++i) {
      const auto segment = packets::parse_frame(result.frames[i]);
      REQUIRE(segment.udp);
      CHECK(segment.udp->payload.size() == sizes[i]);
      CHECK(segment.udp->length == sizes[i] + kUdpHeadBytes);
      CHECK(segment.transport_checksum_valid);
    }
  }
}

TEST_CASE("tags stay, the one in the head and the one in the body") {
  const Bytes one = super_tcp(false, 100).tag(42, 5).build();
  const Bytes two = super_tcp(true, 100).tag(7, 0, kEthertypeServiceVlan).tag(42).build();
  const Cut first = cut(one, {Gso::Kind::kTcp4, 64});
  const Cut second = cut(two, {Gso::Kind::kTcp6, 64});
  REQUIRE(first.frames.size() == 2);
  REQUIRE(second.frames.size() == 2);
  const auto tagged = packets::parse_frame(first.frames[1]);
  CHECK(tagged.tag->vid == 42);
  CHECK(tagged.tag->pcp == 5);
  CHECK(tagged.transport_checksum_valid);
  const auto stacked = packets::parse_frame(second.frames[1]);
  CHECK(stacked.tag->tpid == kEthertypeServiceVlan);
  CHECK(stacked.inner_tag->vid == 42);
  CHECK(stacked.transport_checksum_valid);
}

TEST_CASE("IPv6 extension headers go into every segment") {
  Bytes super = super_tcp(true, 300).build();
  const size_t behind_ip = kEthernetHeadBytes + kIpv6HeadBytes;
  const Bytes hop_by_hop = {kProtocolTcp, 0, 1, 4, 0, 0, 0, 0};
  super.insert(super.begin() + behind_ip, hop_by_hop.begin(), hop_by_hop.end());
  super[kEthernetHeadBytes + 6] = kNextHopByHop;
  write_u16(&super[kEthernetHeadBytes + 4], static_cast<uint16_t>(super.size() - behind_ip));
  const Cut result = cut(super, {Gso::Kind::kTcp6, 200});
  REQUIRE(result.frames.size() == 2);
  for (const Bytes& frame : result.frames) {
    const auto segment = packets::parse_frame(frame);
    REQUIRE(segment.tcp);
    CHECK(segment.transport_checksum_valid);
  }
}

TEST_CASE("the largest super-frame comes in bursts; padding behind it is left out") {
  const size_t payload_size = 65'535 - kIpv4HeadBytes - kTcpHeadBytes;
  const Cut largest = cut(super_tcp(false, payload_size).build(), {Gso::Kind::kTcp4, 536});
  CHECK(largest.frames.size() == (payload_size + 535) / 536);
  CHECK(largest.largest_burst == kBurstFrames);

  const Cut padded = cut(super_tcp(false, 10).pad_to(200).build(), {Gso::Kind::kTcp4, 8});
  REQUIRE(padded.frames.size() == 2);
  CHECK(padded.frames[1].size() == kEthernetHeadBytes + kIpv4HeadBytes + kTcpHeadBytes + 2);

  const Cut none = cut(super_tcp(false, 0).build(), {Gso::Kind::kTcp4, 8});
  REQUIRE(none.frames.size() == 1);
  CHECK(packets::parse_frame(none.frames[0]).transport_checksum_valid);
}

TEST_CASE("a super-frame that contradicts itself or its order is refused") {
  const auto refused = [](Bytes bytes, Gso gso) {
    const Cut result = cut(bytes, gso);
    return result.wrong == DropReason::kMalformed && result.frames.empty();
  };
  const auto changed = [](bool v6, size_t at, uint8_t value) {
    Bytes bytes = super_tcp(v6, 100).build();
    bytes[kEthernetHeadBytes + at] = value;
    return bytes;
  };
  const Gso four{Gso::Kind::kTcp4, 50};
  const Gso six{Gso::Kind::kTcp6, 50};
  const Bytes good4 = super_tcp(false, 100).build();
  const Bytes good6 = super_tcp(true, 100).build();
  CHECK_FALSE(refused(good4, four));
  CHECK_FALSE(refused(good6, six));

  CHECK(refused(good4, {Gso::Kind::kTcp4, 0}));
  CHECK(refused(good4, six));
  CHECK(refused(good6, four));
  CHECK(refused(good4, {Gso::Kind::kUdp, 50}));
  CHECK(refused(changed(false, 0, 0x44), four));   // a header of 16 bytes
  CHECK(refused(changed(false, 0, 0x65), four));   // version 6
  CHECK(refused(changed(false, 2, 0xff), four));   // longer than the frame
  CHECK(refused(changed(false, 6, 0x20), four));   // a fragment
  CHECK(refused(changed(false, 7, 0x01), four));   // a later fragment
  CHECK(refused(changed(false, 32, 0x40), four));  // a TCP header of 16 bytes
  CHECK(refused(changed(false, 32, 0xf0), {Gso::Kind::kTcp4, 50}) == false);  // 60 are there
  CHECK(refused(changed(true, 6, 44), six));                                  // a fragment header
  CHECK(refused(changed(true, 4, 0xff), six));  // longer than the frame
  CHECK(refused(changed(true, 6, 0), six));     // "hop-by-hop" of nonsense length
  CHECK(refused(super_tcp(false, 5000).build(), {Gso::Kind::kTcp4, 1}));  // too many segments
  CHECK(refused(Bytes(good4.begin(), good4.begin() + 40), four));         // cut short
  CHECK(refused(super_tcp(false, 9).tag(1).tag(2).tag(3).tag(4).build(), four));
}
