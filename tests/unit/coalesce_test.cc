#include "netstack/frame/coalesce.h"

#include <doctest/doctest.h>

#include <random>

#include "netstack/base/bytes.h"
#include "netstack/base/checksum.h"
#include "netstack/frame/finish.h"
#include "netstack/port/memory_port.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Builder;
using packets::Bytes;

namespace {

constexpr auto kA = "52:54:00:00:00:01";
constexpr auto kB = "52:54:00:00:00:02";
constexpr OffloadSet kTcp = kOffloadChecksum | kOffloadTcp4 | kOffloadTcp6;
constexpr uint16_t kMss = 1000;

// Frames, and views of them in pieces of `piece_size` bytes.
struct Burst {
  void add(Bytes bytes, size_t piece_size = 100'000) {
    kept.push_back(std::make_unique<Bytes>(std::move(bytes)));
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(kept.back()->data(), kept.back()->size(), frame, body));
    pieces.push_back(std::make_unique<std::vector<iovec>>());
    for (size_t at = 0; at < body.iov_len; at += piece_size) {
      pieces.back()->push_back(
          {static_cast<uint8_t*>(body.iov_base) + at, std::min(piece_size, body.iov_len - at)});
    }
    frame.body = *pieces.back();
    frames.push_back(frame);
  }
  std::vector<std::unique_ptr<Bytes>> kept;
  std::vector<std::unique_ptr<std::vector<iovec>>> pieces;
  std::vector<Frame> frames;
};

Bytes whole(const Frame& frame) {
  Bytes bytes(frame.bytes);
  CHECK(copy_frame(frame, bytes.data()) == frame.bytes);
  return bytes;
}

// What a run of the kernel's looks like: unfragmentable, identifiers that count.
Bytes segment(bool v6, uint32_t index, size_t size = kMss, uint8_t flags = kTcpAck) {
  Builder builder;
  builder.eth(kA, kB);
  v6 ? builder.ip("2001:db8::1", "2001:db8::2") : builder.ip("192.0.2.1", "192.0.2.2");
  builder.tcp(1000, 80, flags, 0xffff'ff00U + index * kMss, 77).payload_bytes(size);
  Bytes bytes = builder.build();
  if (v6) return bytes;
  uint8_t* ip = &bytes[kEthernetHeadBytes];
  write_u16(ip + 4, static_cast<uint16_t>(0xfffe + index));
  write_u16(ip + 6, 0x4000);
  write_u16(ip + 10, 0);
  write_u16(ip + 10, internet_checksum({ip, 20}));
  return bytes;
}

std::vector<Bytes> cut(const Frame& super) {
  std::vector<Bytes> frames;
  REQUIRE_FALSE(frame_finisher().begin(super, 0));
  for (auto run = frame_finisher().next(); !run.empty(); run = frame_finisher().next()) {
    for (const Frame& frame : run) frames.push_back(whole(frame));
  }
  return frames;
}

// A port whose peer takes everything.
class OffloadPort final : public Port {
 public:
  explicit OffloadPort(OffloadSet takes) : Port("offload", kFrameBytesMax) {
    take_offloads(takes, true);
  }
  std::vector<Bytes> frames;
  std::vector<Offload> offloads;

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override {
    for (const Frame& frame : burst) {
      frames.push_back(whole(frame));
      offloads.push_back(frame.offload);
    }
    return burst.size();
  }
};

}  // namespace

TEST_CASE("a run becomes one super-frame which, cut again, is the run bit by bit") {
  for (const bool v6 : {false, true}) {
    for (const size_t piece_size : {100'000, 333, 5}) {
      CAPTURE(v6);
      CAPTURE(piece_size);
      Burst burst;
      for (uint32_t i = 0; i < 3; ++i) burst.add(segment(v6, i), piece_size);
      burst.add(segment(v6, 3, 10 + 300, kTcpAck | kTcpPsh), piece_size);
      REQUIRE(Coalescer::concerns(burst.frames, kTcp));
      const auto joined = coalescer().join(burst.frames, kTcp);
      if (piece_size == 5) {  // 687 pieces: more than one super-frame may have
        CHECK(joined.size() > 1);
        continue;
      }
      REQUIRE(joined.size() == 1);
      const Frame& super = joined[0];
      CHECK(super.bytes == burst.kept[0]->size() + 2 * kMss + 310);
      CHECK(super.offload.needs_checksum);
      CHECK(super.offload.gso.payload_bytes == kMss);
      CHECK(super.offload.gso.kind == (v6 ? Gso::Kind::kTcp6 : Gso::Kind::kTcp4));

      const std::vector<Bytes> again = cut(super);
      REQUIRE(again.size() == 4);
      for (size_t i = 0; i < 4; ++i) CHECK(again[i] == *burst.kept[i]);

      OffloadPort summed(kOffloadTcp4 | kOffloadTcp6);  // the partial checksum is right as well
      summed.send({&super, 1});
      REQUIRE(summed.frames.size() == 1);
      CHECK(packets::parse_frame(summed.frames[0]).transport_checksum_valid);
      CHECK(summed.offloads[0].is_super_frame());
    }
  }
}

TEST_CASE("what does not belong together stays apart") {
  const auto joins = [](Bytes first, Bytes second, OffloadSet takes = kTcp) {
    Burst burst;
    burst.add(std::move(first));
    burst.add(std::move(second));
    if (!Coalescer::concerns(burst.frames, takes)) return false;
    const auto out = coalescer().join(burst.frames, takes);
    if (out.size() == 1) return true;
    CHECK(whole(out[0]) == *burst.kept[0]);
    CHECK(whole(out[1]) == *burst.kept[1]);
    return false;
  };
  // A change of one field, with checksums made right again where it says so.
  const auto changed = [](bool v6, size_t at, uint8_t value, bool mend = true) {
    Bytes bytes = segment(v6, 1);
    bytes[kEthernetHeadBytes + at] = value;
    if (!mend) return bytes;
    uint8_t* ip = &bytes[kEthernetHeadBytes];
    const size_t ip_size = v6 ? 40 : 20;
    if (!v6) {
      write_u16(ip + 10, 0);
      write_u16(ip + 10, internet_checksum({ip, 20}));
    }
    Checksum sum;
    sum.add({ip + (v6 ? 8 : 12), v6 ? 32U : 8U});
    sum.add_u32(6);
    sum.add_u32(static_cast<uint32_t>(bytes.size() - kEthernetHeadBytes - ip_size));
    write_u16(ip + ip_size + 16, 0);
    sum.add({ip + ip_size, bytes.size() - kEthernetHeadBytes - ip_size});
    write_u16(ip + ip_size + 16, sum.finish());
    return bytes;
  };
  for (const bool v6 : {false, true}) {
    CAPTURE(v6);
    CHECK(joins(segment(v6, 0), segment(v6, 1)));
    CHECK(joins(segment(v6, 0), segment(v6, 1, 300)));
    CHECK_FALSE(joins(segment(v6, 0), segment(v6, 1), 0));
    CHECK_FALSE(joins(segment(v6, 0), segment(v6, 1), kOffloadChecksum));
    CHECK_FALSE(joins(segment(v6, 0), segment(v6, 2)));       // a gap
    CHECK_FALSE(joins(segment(v6, 1), segment(v6, 0)));       // backwards
    CHECK_FALSE(joins(segment(v6, 0, 400), segment(v6, 1)));  // short, then long
    CHECK_FALSE(joins(segment(v6, 0, kMss, kTcpAck | kTcpPsh), segment(v6, 1)));  // pushed
    for (const uint8_t flag : {kTcpFin, kTcpSyn, kTcpRst, kTcpCwr, kTcpEce, kTcpUrg}) {
      CHECK_FALSE(joins(segment(v6, 0), segment(v6, 1, kMss, kTcpAck | flag)));
      CHECK_FALSE(joins(segment(v6, 0, kMss, kTcpAck | flag), segment(v6, 1)));
    }
    const size_t tcp = v6 ? 40 : 20;
    CHECK_FALSE(joins(segment(v6, 0), changed(v6, tcp + 1, 9)));     // another port
    CHECK_FALSE(joins(segment(v6, 0), changed(v6, tcp + 11, 9)));    // another acknowledgement
    CHECK_FALSE(joins(segment(v6, 0), changed(v6, tcp + 15, 9)));    // another window
    CHECK_FALSE(joins(segment(v6, 0), changed(v6, v6 ? 7 : 8, 9)));  // another hop limit
    CHECK_FALSE(joins(segment(v6, 0), changed(v6, v6 ? 3 : 1, 9)));  // flow label, or service
    CHECK_FALSE(joins(segment(v6, 0), changed(v6, tcp + 600, 9, false)));  // a wrong checksum
    CHECK(joins(segment(v6, 0), changed(v6, tcp + 600, 9)));               // (and the same mended)
  }
  CHECK_FALSE(joins(segment(false, 0), changed(false, 5, 9)));  // identifiers that jump
  CHECK_FALSE(joins(segment(false, 0), changed(false, 6, 0)));  // may be fragmented
  const auto fragmentable = [&](uint8_t id_low) {
    Bytes bytes = changed(false, 6, 0);
    uint8_t* ip = &bytes[kEthernetHeadBytes];
    write_u16(ip + 4, static_cast<uint16_t>(0xff00U | id_low));
    write_u16(ip + 10, 0);
    write_u16(ip + 10, internet_checksum({ip, 20}));
    return bytes;
  };
  const auto before = [&](uint8_t id_low) {  // one segment earlier
    Bytes bytes = fragmentable(id_low);
    uint8_t* tcp = &bytes[kEthernetHeadBytes + 20];
    write_u32(tcp + 4, read_u32(tcp + 4) - kMss);
    Checksum sum;
    sum.add({&bytes[kEthernetHeadBytes + 12], 8});
    sum.add_u32(6);
    sum.add_u32(20 + kMss);
    write_u16(tcp + 16, 0);
    sum.add({tcp, 20 + kMss});
    write_u16(tcp + 16, sum.finish());
    return bytes;
  };
  CHECK(joins(before(7), fragmentable(8)));
  CHECK_FALSE(joins(before(7), fragmentable(7)));
  CHECK_FALSE(joins(before(7), fragmentable(9)));
  CHECK_FALSE(joins(segment(false, 0), changed(false, 10, 9, false)));  // header checksum
  CHECK_FALSE(joins(segment(false, 0), segment(true, 1)));
}

TEST_CASE("runs end at 64 KiB, and other frames keep their place") {
  Burst burst;
  const Bytes other =
      Builder().eth(kA, kB).ip("192.0.2.1", "192.0.2.2").udp(1, 2).payload_bytes(900).build();
  for (uint32_t i = 0; i < 30; ++i) burst.add(segment(false, i));
  burst.add(other);
  for (uint32_t i = 30; i < 63; ++i) burst.add(segment(false, i));
  OffloadPort port(kTcp);
  port.send(burst.frames);
  REQUIRE(port.frames.size() == 3);
  CHECK(port.frames[1] == other);
  CHECK(port.frames[0].size() == 54 + 30 * kMss);
  CHECK(port.frames[2].size() == 54 + 33 * kMss);
  CHECK(port.counters().egress_frames == 3);

  Burst large;
  for (uint32_t i = 0; i < 64; ++i) large.add(segment(false, i, 1400));
  for (Frame& frame : large.frames) CHECK(frame.bytes == 1454);  // sequences overlap: none joined
  OffloadPort second(kTcp);
  second.send(large.frames);
  CHECK(second.frames.size() == 64);
}

TEST_CASE("partial checksums are joined without being summed, and stay partial") {
  Burst burst;
  for (uint32_t i = 0; i < 4; ++i) {
    Bytes bytes = segment(false, i);
    write_u16(&bytes[kEthernetHeadBytes + 36], 0x1234);  // whatever the sender has so far
    burst.add(std::move(bytes));
    burst.frames.back().offload = {
        .needs_checksum = true, .checksum_start = 34, .checksum_offset = 16};
  }
  const auto joined = coalescer().join(burst.frames, kTcp);
  REQUIRE(joined.size() == 1);
  for (const Bytes& bytes : cut(joined[0])) {
    CHECK(packets::parse_frame(bytes).transport_checksum_valid);
  }
}

TEST_CASE("super-frames in pieces of any size are cut alike") {
  Builder builder;
  const Bytes bytes = builder.eth(kA, kB)
                          .ip("192.0.2.1", "192.0.2.2")
                          .tcp(1, 2, kTcpAck)
                          .payload_bytes(9001)
                          .build();
  std::vector<Bytes> expected;
  for (const size_t piece_size : {100'000, 4096, 999, 40, 11, 5}) {
    CAPTURE(piece_size);
    Burst burst;
    burst.add(bytes, piece_size);
    burst.frames[0].offload.gso = {Gso::Kind::kTcp4, 1448};
    const std::vector<Bytes> segments = cut(burst.frames[0]);
    if (expected.empty()) expected = segments;
    CHECK(segments == expected);
    for (const Bytes& one : segments) CHECK(packets::parse_frame(one).transport_checksum_valid);
  }
  CHECK(expected.size() == 7);
  Burst burst;
  burst.add(bytes, 4);  // more pieces than a body may have
  burst.frames[0].offload.gso = {Gso::Kind::kTcp4, 1448};
  CHECK(frame_finisher().begin(burst.frames[0], 0) == DropReason::kLimit);
}

TEST_CASE("a port gets what it takes and no more") {
  Builder builder;
  const Bytes bytes = builder.eth(kA, kB)
                          .ip("192.0.2.1", "192.0.2.2")
                          .tcp(1, 2, kTcpAck)
                          .payload_bytes(4000)
                          .partial_checksum()
                          .build();
  Burst burst;
  burst.add(bytes);
  burst.frames[0].offload = {.needs_checksum = true,
                             .checksum_start = 34,
                             .checksum_offset = 16,
                             .gso = {Gso::Kind::kTcp4, 1448}};
  struct Row {
    OffloadSet takes;
    size_t frames;
    bool summed;
  };
  for (const Row& row : {Row{0, 3, true}, Row{kOffloadChecksum, 3, true},
                         Row{kOffloadTcp6 | kOffloadChecksum, 3, true}, Row{kOffloadTcp4, 1, true},
                         Row{kTcp, 1, false}}) {
    CAPTURE(row.takes);
    OffloadPort port(row.takes);
    port.send(burst.frames);
    REQUIRE(port.frames.size() == row.frames);
    for (const Bytes& frame : port.frames) {
      CHECK(packets::parse_frame(frame).transport_checksum_valid == row.summed);
    }
  }
  MemoryPort narrow("narrow", MemoryPort::Keep::kFrames, 1600);
  narrow.send(burst.frames);
  CHECK(narrow.take().size() == 3);
  burst.frames[0].offload.ecn = true;
  OffloadPort no_ecn(kTcp);
  no_ecn.send(burst.frames);
  CHECK(no_ecn.frames.size() == 3);
  burst.frames[0].offload.gso.payload_bytes = 0;
  MemoryPort out("out");
  out.send(burst.frames);
  CHECK(out.counters().dropped(DropReason::kMalformed) == 1);
}
