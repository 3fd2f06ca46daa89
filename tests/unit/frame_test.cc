// Frames as views, and what Port does to a burst on its way out.
#include "netstack/frame/frame.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "netstack/frame/port.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Builder;
using packets::Bytes;
using packets::describe;

namespace {

constexpr std::string_view kGuest = "52:54:00:00:00:01";
constexpr std::string_view kGateway = "52:55:0a:00:02:02";

Builder udp_frame() {
  return Builder().eth(kGuest, kGateway).ip("10.0.2.15", "192.0.2.7").udp(1024, 9);
}

struct View {
  explicit View(const Bytes& bytes) : whole(view_frame(bytes.data(), bytes.size(), frame, body)) {}
  Frame frame;
  iovec body{};
  bool whole;
};

Bytes copy_of(const Frame& frame) {
  Bytes out(frame.bytes);
  CHECK(copy_frame(frame, out.data()) == frame.bytes);
  return out;
}

// Keeps what it is given, as much as it may take.
class KeepingPort final : public Port {
 public:
  explicit KeepingPort(uint32_t frame_bytes_max = kFrameBytesMax) : Port("kept", frame_bytes_max) {}
  using Port::deliver;

  size_t takes_max = SIZE_MAX;
  std::vector<Bytes> frames;
  std::vector<size_t> call_sizes;

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override {
    call_sizes.push_back(burst.size());
    const size_t taken = std::min(burst.size(), takes_max);
    for (const Frame& frame : burst.first(taken)) frames.push_back(copy_of(frame));
    return taken;
  }
};

class CountingSink final : public Sink {
 public:
  void receive(PortId ingress, std::span<Frame> burst) noexcept override {
    last_ingress = ingress;
    frame_count += burst.size();
  }
  PortId last_ingress = 0;
  size_t frame_count = 0;
};

// A UDP frame whose checksum is left to the port, as a guest with offload sends it.
struct PartialFrame {
  explicit PartialFrame(Bytes made) : bytes(std::move(made)), view(bytes) {
    const auto head = static_cast<uint16_t>(view.frame.head_bytes);
    view.frame.offload = {.needs_checksum = true,
                          .checksum_start = static_cast<uint16_t>(head + 20),
                          .checksum_offset = 6};
  }
  Bytes bytes;
  View view;
};

}  // namespace

TEST_CASE("view_frame splits head and body and copies neither more nor less") {
  const Bytes bytes = udp_frame().payload("hello").build();
  const View view(bytes);
  REQUIRE(view.whole);
  CHECK(view.frame.head_bytes == kEthernetHeadBytes);
  CHECK(view.frame.bytes == bytes.size());
  CHECK(view.frame.source() == packets::mac(kGuest));
  CHECK(view.frame.destination() == packets::mac(kGateway));
  CHECK(view.frame.ethertype() == kEthertypeIpv4);
  CHECK(view.frame.vid() == 0);
  CHECK(view.body.iov_base == bytes.data() + kEthernetHeadBytes);
  CHECK_FALSE(view.frame.offload.needs_checksum);
  CHECK(copy_of(view.frame) == bytes);
}

TEST_CASE("a tag belongs to the head, an inner tag to the body") {
  struct Case {
    Bytes bytes;
    bool tagged;
    uint16_t vid;
    uint16_t ethertype;
  };
  const std::array cases{
      Case{udp_frame().tag(42, 5).build(), true, 42, kEthertypeIpv4},
      Case{udp_frame().tag(4095).build(), true, 4095, kEthertypeIpv4},
      Case{udp_frame().tag(0, 7).build(), true, 0, kEthertypeIpv4},
      Case{udp_frame().tag(7, 0, kEthertypeServiceVlan).tag(9).build(), true, 7, kEthertypeVlan},
      Case{udp_frame().build(), false, 0, kEthertypeIpv4},
  };
  for (const Case& c : cases) {
    INFO(describe(c.bytes));
    const View view(c.bytes);
    REQUIRE(view.whole);
    CHECK(view.frame.tagged() == c.tagged);
    CHECK(view.frame.vid() == c.vid);
    CHECK(view.frame.ethertype() == c.ethertype);
    CHECK(copy_of(view.frame) == c.bytes);
  }
}

TEST_CASE("a frame shorter than its own header is refused") {
  const Bytes plain = Builder().eth(kGuest, kGateway).ethertype(0x88b5).build();
  const Bytes tagged = Builder().eth(kGuest, kGateway).tag(3).ethertype(0x88b5).build();
  REQUIRE(plain.size() == kEthernetHeadBytes);
  REQUIRE(tagged.size() == kTaggedHeadBytes);
  for (const Bytes& whole : {plain, tagged}) {
    for (size_t size = 0; size <= whole.size(); ++size) {
      CAPTURE(size);
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      CHECK(View(cut).whole == (size == whole.size()));
    }
  }
}

TEST_CASE("copy_frame gathers a body in pieces") {
  const Bytes bytes = udp_frame().payload_bytes(100).build();
  View view(bytes);
  auto* body = static_cast<uint8_t*>(view.body.iov_base);
  const std::array<iovec, 3> pieces{iovec{body, 1}, iovec{body + 1, 0},
                                    iovec{body + 1, view.body.iov_len - 1}};
  view.frame.body = pieces;
  CHECK(copy_of(view.frame) == bytes);
}

TEST_CASE("a batch takes whole frames to its capacity") {
  const Bytes bytes = udp_frame().build();
  FrameBatch<2> batch;
  CHECK(batch.empty());
  CHECK_FALSE(batch.add(bytes.data(), 13));
  CHECK(batch.add(bytes.data(), bytes.size()));
  CHECK(batch.add(bytes.data(), bytes.size()));
  CHECK(batch.full());
  for (const Frame& frame : batch.frames()) CHECK(copy_of(frame) == bytes);
  batch.clear();
  CHECK(batch.empty());
}

TEST_CASE("deliver counts ingress, and reaches nobody before attach and after detach") {
  const Bytes bytes = udp_frame().build();
  View view(bytes);
  KeepingPort port;
  CountingSink sink;
  port.deliver({&view.frame, 1});
  CHECK(port.counters().ingress_frames == 0);
  port.attach(sink, 5);
  port.deliver({&view.frame, 1});
  CHECK(sink.last_ingress == 5);
  CHECK(port.counters().ingress_frames == 1);
  CHECK(port.counters().ingress_bytes == bytes.size());
  port.detach();
  port.deliver({&view.frame, 1});
  CHECK(sink.frame_count == 1);
}

TEST_CASE("frames with nothing to do go out in one call") {
  const Bytes bytes = udp_frame().payload("x").build();
  FrameBatch<8> batch;
  for (int count = 0; count < 8; ++count) batch.add(bytes.data(), bytes.size());
  KeepingPort port;
  port.send(batch.frames());
  CHECK(port.call_sizes == std::vector<size_t>{8});
  CHECK(port.counters().egress_frames == 8);
  CHECK(port.counters().egress_bytes == 8 * bytes.size());
  port.send({});
  CHECK(port.call_sizes.size() == 1);
}

TEST_CASE("a frame too long for the port is dropped whole, its neighbours are not") {
  const Bytes fits = udp_frame().payload_bytes(58).build();
  const Bytes over = udp_frame().payload_bytes(59).build();
  REQUIRE(fits.size() == 100);
  FrameBatch<3> batch;
  for (const Bytes* bytes : {&fits, &over, &fits}) batch.add(bytes->data(), bytes->size());
  KeepingPort port(100);
  port.send(batch.frames());
  CHECK(port.frames == std::vector{fits, fits});
  CHECK(port.counters().dropped(DropReason::kTooLong) == 1);
  CHECK(port.counters().dropped() == 1);
}

TEST_CASE("what a port does not take is dropped and counted") {
  const Bytes bytes = udp_frame().build();
  FrameBatch<5> batch;
  for (int count = 0; count < 5; ++count) batch.add(bytes.data(), bytes.size());
  KeepingPort port;
  port.takes_max = 2;
  port.send(batch.frames());
  CHECK(port.counters().egress_frames == 2);
  CHECK(port.counters().dropped(DropReason::kQueueFull) == 3);
}

TEST_CASE("a partial checksum is finished on the way out, in order, and the sender's bytes stay") {
  const Bytes whole = udp_frame().payload("whole").build();
  for (const uint16_t vid : {uint16_t{0}, uint16_t{42}}) {
    Builder builder = udp_frame().payload("partial");
    if (vid != 0) builder.tag(vid);
    PartialFrame partial(builder.partial_checksum().build());
    REQUIRE_FALSE(packets::parse_frame(partial.bytes).transport_checksum_valid);
    const Bytes before = partial.bytes;
    View first(whole);
    const std::array<Frame, 3> burst{first.frame, partial.view.frame, first.frame};

    KeepingPort port;
    port.send(burst);
    REQUIRE(port.frames.size() == 3);
    CHECK(port.frames[0] == whole);
    CHECK(port.frames[2] == whole);
    INFO(describe(port.frames));
    CHECK(packets::parse_frame(port.frames[1]).transport_checksum_valid);
    CHECK(packets::parse_frame(port.frames[1]).text() == "partial");
    CHECK(partial.bytes == before);
    CHECK(port.counters().egress_frames == 3);
  }
}

TEST_CASE("a checksum field outside the frame, or in its head, drops that frame alone") {
  PartialFrame partial(udp_frame().partial_checksum().build());
  View good(partial.bytes);
  for (const uint16_t start :
       {uint16_t{0}, uint16_t{13}, uint16_t{41}, uint16_t{42}, uint16_t{65'535}}) {
    partial.view.frame.offload.checksum_start = start;
    KeepingPort port;
    const std::array<Frame, 2> burst{partial.view.frame, good.frame};
    port.send(burst);
    CHECK(port.counters().dropped(DropReason::kBadOffload) == 1);
    CHECK(port.counters().egress_frames == 1);
  }
}

TEST_CASE("the largest frame there is can have its checksum finished") {
  PartialFrame partial(udp_frame().payload_bytes(65'535 - 28).partial_checksum().build());
  KeepingPort port;
  port.send({&partial.view.frame, 1});
  REQUIRE(port.frames.size() == 1);
  CHECK(packets::parse_frame(port.frames[0]).transport_checksum_valid);
}

TEST_CASE("addresses are written the way people read them") {
  CHECK(to_string(packets::mac("52:54:00:12:34:ab")) == "52:54:00:12:34:ab");
  CHECK(kBroadcast.is_group());
  CHECK(packets::mac("01:80:c2:00:00:00").is_group());
  CHECK_FALSE(packets::mac("fe:54:00:00:00:01").is_group());
  CHECK(packets::mac("00:00:00:00:01:02").bits() == 0x102);
}
