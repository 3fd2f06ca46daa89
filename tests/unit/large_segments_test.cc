#include "netstack/nat/large_segments.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <numeric>

#include "netstack/base/bytes.h"
#include "netstack/wire/tcp_rewrite.h"
#include "tests/unit/gateway_bed.h"

using namespace tests;

namespace {

// A segment with these bytes of options and a right checksum.
Bytes segment_with(const Bytes& options, uint8_t flags = kTcpSyn) {
  Tcp tcp;
  tcp.source_port = 4000;
  tcp.destination_port = 80;
  tcp.flags = flags;
  Bytes segment(kTcpHeadBytes);
  write_tcp(tcp, segment.data());
  segment[12] = static_cast<uint8_t>((kTcpHeadBytes + options.size()) / 4 << 4U);
  segment.insert(segment.end(), options.begin(), options.end());
  write_u16(&segment[16], transport_checksum(packets::ip("10.0.2.15"), packets::ip("10.0.2.2"),
                                             kProtocolTcp, segment));
  return segment;
}

bool sound(const Bytes& segment) {
  return transport_checksum(packets::ip("10.0.2.15"), packets::ip("10.0.2.2"), kProtocolTcp,
                            segment) == 0;
}

Bytes frame_of(const Bytes& segment) {
  Bytes frame = Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.2").udp(1, 2).build();
  frame.resize(kEthernetHeadBytes + kIpv4HeadBytes);
  frame[kEthernetHeadBytes + 9] = kProtocolTcp;
  frame.insert(frame.end(), segment.begin(), segment.end());
  return frame;
}

const LargeSegments kLarge(1500);

}  // namespace

TEST_CASE("a guest's segment size is raised where it is the MTU's, and its checksum stays right") {
  struct Row {
    Bytes options;
    std::optional<uint16_t> after;
  };
  const std::vector<Row> rows = {
      {{2, 4, 0x05, 0xb4}, 16'060},              // 1460
      {{1, 2, 4, 0x05, 0xb4, 1, 1, 1}, 16'060},  // the same at an odd place
      {{1, 1, 1, 2, 4, 0x23, 0x00, 1}, 16'060},  // 8960: a guest with jumbo frames
      {{2, 4, 0x05, 0xb3, 1, 1, 1, 1}, 1459},    // less than the MTU allows: left alone
      {{2, 4, 0x02, 0x18}, 536},
      {{}, std::nullopt},
      {{1, 1, 1, 1}, std::nullopt},
      {{0, 0, 2, 4}, std::nullopt},                 // behind the end of the options
      {{3, 0, 2, 4}, std::nullopt},                 // an option of length 0
      {{1, 1, 1, 2}, std::nullopt},                 // cut short
      {{2, 3, 0x05, 1}, std::nullopt},              // of another length than RFC 9293 gives it
      {{8, 40, 2, 4, 5, 180, 1, 1}, std::nullopt},  // an option past the end
  };
  for (const Row& row : rows) {
    CAPTURE(packets::describe({row.options}));
    Bytes segment = segment_with(row.options);
    kLarge.raise_mss(segment, false);
    CHECK(read_mss(segment) == row.after);
    CHECK(sound(segment));
  }
}

TEST_CASE("over IPv6 the header is longer") {
  Bytes segment = segment_with({2, 4, 0x05, 0xa0});  // 1440
  kLarge.raise_mss(segment, true);
  CHECK(read_mss(segment) == 11 * 1440);
}

TEST_CASE("a header that says it is longer than the segment is read no further") {
  Bytes segment = segment_with({2, 4, 0x05, 0xb4});
  segment[12] = 0xf0;
  segment.resize(kTcpHeadBytes + 2);
  CHECK_FALSE(read_mss(segment));
  CHECK_FALSE(read_mss(std::span(segment).first(5)));
}

TEST_CASE("what the engine offers a guest is what the MTU allows") {
  Bytes frame = frame_of(segment_with({2, 4, 0x3e, 0xbc}, kTcpSyn | kTcpAck));
  CHECK_FALSE(kLarge.put_right(frame).is_super_frame());
  CHECK(read_mss(std::span(frame).subspan(34)) == 1460);
  CHECK(sound({frame.begin() + 34, frame.end()}));
}

TEST_CASE("only TCP becomes super-frames, only other IPv4 is fragmented") {
  Bytes tcp = frame_of(Bytes(kTcpHeadBytes + 3000));
  Bytes small = frame_of(Bytes(kTcpHeadBytes + 1460));
  Bytes udp = Builder()
                  .eth(kGuest, kGatewayMac)
                  .ip("10.0.2.15", "10.0.2.2")
                  .udp(1, 2)
                  .payload(Bytes(3000))
                  .build();
  CHECK_FALSE(kLarge.put_right(small).is_super_frame());
  CHECK_FALSE(kLarge.put_right(udp).is_super_frame());
  CHECK(kLarge.wants_fragments(udp));
  CHECK_FALSE(kLarge.wants_fragments(tcp));
  const Offload order = kLarge.put_right(tcp);
  CHECK(order.is_super_frame());
  CHECK(order.gso.payload_bytes == 1460);
  for (size_t size = 0; size < 60; ++size) {  // runts
    Bytes cut(tcp.begin(), tcp.begin() + static_cast<ptrdiff_t>(size));
    if (size >= kEthernetHeadBytes) CHECK_FALSE(kLarge.put_right(cut).is_super_frame());
  }
}

namespace {

// A guest's connection to a server on the host's loopback, opened with this segment size.
struct Download {
  Download(Bed& bed, bool v6, uint16_t mss) {
    const Fd listener(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    socklen_t bytes = to_sockaddr(packets::ip(v6 ? "::1" : "127.0.0.1"), 0, address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listener.get(), generic, bytes) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    ::getsockname(listener.get(), generic, &bytes);
    const uint16_t port = ntohs(v6 ? reinterpret_cast<sockaddr_in6*>(generic)->sin6_port
                                   : reinterpret_cast<sockaddr_in*>(generic)->sin_port);
    const auto segment = [&](uint8_t flags, uint32_t seq, uint32_t ack) {
      return Builder()
          .eth(kGuest, v6 ? kGatewayMac6 : kGatewayMac)
          .ip(v6 ? "fec0::15" : "10.0.2.15", v6 ? "fec0::2" : "10.0.2.2")
          .tcp(4000, port, flags, seq, ack);
    };
    if (v6) {
      bed.send(Builder()
                   .eth(kGuest, kGatewayMac6)
                   .ip("fec0::15", "fec0::2")
                   .ttl(255)
                   .neighbour_advertisement("fec0::15"));
    }
    bed.take();
    bed.send(with_mss(segment(kTcpSyn, 100, 0).build(), v6, mss));
    const auto opened = bed.only();
    REQUIRE(opened.tcp);
    const uint32_t first = opened.tcp->seq + 1;
    bed.take();
    bed.send(segment(kTcpAck, 101, first));
    const Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string text(kText_size, 0);
    std::iota(text.begin(), text.end(), char{0});
    REQUIRE(::send(server.get(), text.data(), text.size(), 0) == ssize_t{kText_size});
    for (uint32_t acked = first; got.size() < text.size() && turns < 100; ++turns) {
      bed.run();
      for (const auto& frame : bed.take()) {
        const auto parsed = packets::parse_frame(frame);
        if (!parsed.tcp || parsed.tcp->seq != acked) continue;
        sound = sound && parsed.transport_checksum_valid;
        const auto& payload = parsed.tcp->payload;
        largest_size = std::max(largest_size, payload.size());
        got.append(payload.begin(), payload.end());
        acked += static_cast<uint32_t>(payload.size());
      }
      bed.send(segment(kTcpAck, 101, acked));
    }
    CHECK(got == text);
  }

  static Bytes with_mss(Bytes frame, bool v6, uint16_t mss) {
    const size_t ip = kEthernetHeadBytes;
    const size_t tcp = ip + (v6 ? kIpv6HeadBytes : kIpv4HeadBytes);
    frame.resize(tcp + kTcpHeadBytes);
    frame.insert(frame.end(), {2, 4, static_cast<uint8_t>(mss >> 8U), static_cast<uint8_t>(mss)});
    frame[tcp + 12] = 0x60;
    if (v6) {
      write_u16(&frame[ip + 4], kTcpHeadBytes + 4);
    } else {
      write_u16(&frame[ip + 2], kIpv4HeadBytes + kTcpHeadBytes + 4);
      write_u16(&frame[ip + 10], 0);
      write_u16(&frame[ip + 10], internet_checksum(std::span(frame).subspan(ip, kIpv4HeadBytes)));
    }
    write_u16(&frame[tcp + 16], 0);
    const auto parsed = packets::parse_frame(frame);
    write_u16(&frame[tcp + 16], transport_checksum(parsed.source(), parsed.destination(),
                                                   kProtocolTcp, std::span(frame).subspan(tcp)));
    return frame;
  }

  static constexpr size_t kText_size = 100'000;
  std::string got;
  size_t largest_size = 0;
  bool sound = true;
  int turns = 0;
};

// A guest's connection to a server on the host's loopback, to send to.
struct Upload {
  explicit Upload(Bed& bed) {
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    socklen_t bytes = to_sockaddr(packets::ip("127.0.0.1"), 0, address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listener.get(), generic, bytes) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    ::getsockname(listener.get(), generic, &bytes);
    port = ntohs(reinterpret_cast<sockaddr_in*>(generic)->sin_port);
    bed.send(segment(kTcpSyn, 100));
    const auto opened = bed.only();
    REQUIRE(opened.tcp);
    ack = opened.tcp->seq + 1;
    bed.send(segment(kTcpAck, 101));
    server = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  Builder segment(uint8_t flags, uint32_t seq) const {
    return Builder()
        .eth(kGuest, kGatewayMac)
        .ip("10.0.2.15", "10.0.2.2")
        .tcp(4000, port, flags, seq, ack);
  }
  uint16_t port = 0;
  uint32_t ack = 0;
  Fd server;
};

}  // namespace

TEST_CASE("what a host sends reaches the guest in segments of the MTU, once cut") {
  bool v6 = false;
  SUBCASE("IPv4") {}
  SUBCASE("IPv6") {
    v6 = true;
  }
  const uint16_t mss = v6 ? 1440 : 1460;
  Bed bed = make_bed();
  const Download download(bed, v6, mss);
  CHECK(download.sound);
  CHECK(download.largest_size == mss);
  CHECK(bed.guest.super_frames_count > 0);
}

TEST_CASE("a datagram larger than the MTU comes in fragments") {
  Bed bed = make_bed();
  const Fd server(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  socklen_t bytes = to_sockaddr(packets::ip("127.0.0.1"), 0, address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(server.get(), generic, bytes) == 0);
  ::getsockname(server.get(), generic, &bytes);
  const uint16_t port = ntohs(reinterpret_cast<sockaddr_in*>(generic)->sin_port);
  bed.send(
      Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", "10.0.2.2").udp(4000, port).payload("x"));
  char data[1];
  bytes = sizeof address;
  REQUIRE(::recvfrom(server.get(), data, sizeof data, 0, generic, &bytes) == 1);
  const std::string text(4000, 'y');
  REQUIRE(::sendto(server.get(), text.data(), text.size(), 0, generic, bytes) == 4000);
  bed.run(8);
  const auto frames = bed.take();
  CHECK(frames.size() == 3);
  size_t payload_size = 0;
  for (const auto& frame : frames) {
    CHECK(frame.size() <= kEthernetHeadBytes + 1500);
    payload_size += frame.size() - kEthernetHeadBytes - kIpv4HeadBytes;
  }
  CHECK(payload_size == 4000 + kUdpHeadBytes);
}

TEST_CASE("a burst of a guest's segments is one for the engine, and one answer") {
  Bed bed = make_bed();
  Upload upload(bed);
  constexpr size_t kSegments_count = 20;
  const std::string text(kSegments_count * 1460, 'z');
  std::vector<Bytes> frames;
  for (size_t i = 0; i < kSegments_count; ++i) {
    frames.push_back(upload.segment(kTcpAck, static_cast<uint32_t>(101 + i * 1460))
                         .payload(text.substr(0, 1460))
                         .build());
  }
  for (Bytes& frame : frames) {  // as Linux sends them: not to be fragmented
    const auto ip = std::span(frame).subspan(kEthernetHeadBytes, kIpv4HeadBytes);
    ip[6] = 0x40;
    write_u16(&ip[10], 0);
    write_u16(&ip[10], internet_checksum(ip));
  }
  FrameBatch<kBurstFrames> batch;
  for (const auto& frame : frames) REQUIRE(batch.add(frame.data(), frame.size()));
  bed.take();
  bed.gateway.send(batch.frames());
  bed.run();
  const auto answer = bed.only();
  REQUIRE(answer.tcp);
  CHECK(answer.tcp->ack == 101 + text.size());
  std::string got(text.size(), 0);
  REQUIRE(::recv(upload.server.get(), got.data(), got.size(), MSG_WAITALL) ==
          static_cast<ssize_t>(text.size()));
  CHECK(got == text);
}

TEST_CASE("a super-frame is finished in the gateway, and a malformed order is dropped") {
  Bed bed = make_bed();
  Upload upload(bed);
  bed.take();
  const std::string text(3000, 'z');
  Bytes bytes = upload.segment(kTcpAck, 101).payload(text).build();
  constexpr uint16_t kTcpAt = kEthernetHeadBytes + kIpv4HeadBytes;
  Checksum pseudo;
  pseudo.add(std::span(bytes).subspan(kEthernetHeadBytes + 12, 8));
  pseudo.add_u32(kProtocolTcp);
  pseudo.add_u32(static_cast<uint32_t>(bytes.size() - kTcpAt));
  write_u16(&bytes[kTcpAt + 16], static_cast<uint16_t>(~pseudo.finish()));
  Frame frame;
  iovec body{};
  REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
  frame.offload = {.needs_checksum = true,
                   .checksum_start = kTcpAt,
                   .checksum_offset = 16,
                   .ecn = false,
                   .gso = {.kind = Gso::Kind::kTcp4, .payload_bytes = 1460}};
  const std::vector<std::pair<uint16_t, uint16_t>> wrong = {{0, 16}, {60'000, 16}, {kTcpAt, 9000}};
  for (const auto& [start, offset] : wrong) {
    Frame bad = frame;
    bad.offload.checksum_start = start;
    bad.offload.checksum_offset = offset;
    const uint64_t before = bed.dropped(DropReason::kBadOffload);
    bed.gateway.send({&bad, 1});
    CHECK(bed.dropped(DropReason::kBadOffload) == before + 1);
  }
  bed.gateway.send({&frame, 1});
  bed.run();
  const auto answer = bed.only();
  REQUIRE(answer.tcp);
  CHECK(answer.tcp->ack == 101 + text.size());
}
