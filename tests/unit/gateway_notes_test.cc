// The note a frame of the gateway carries to mirrors: the line of the log, on each frame that tells
// a guest why something is out of reach, and on no other.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/unit/gateway_bed.h"

namespace {

using namespace tests;

// Takes the gateway's frames with their notes, as a mirror sees them.
struct NoteSink final : Sink {
  explicit NoteSink(Bed& bed) : gateway(bed.gateway) {
    gateway.detach();
    gateway.attach(*this, 1);
  }
  ~NoteSink() override { gateway.detach(); }

  void receive(PortId, std::span<Frame> burst) noexcept override {
    ++burst_count;
    const size_t before = frames.size();
    for (const Frame& frame : burst) {
      Bytes bytes(frame.bytes);
      copy_frame(frame, bytes.data());
      frames.push_back(std::move(bytes));
    }
    notes.resize(frames.size());
    for (const FrameNote& note : gateway.notes()) {
      CHECK(note.index < burst.size());
      notes[before + note.index] = note.text;
    }
  }

  Gateway& gateway;
  std::vector<Bytes> frames;
  std::vector<std::string> notes;  // one per frame, most of them empty
  size_t burst_count = 0;
};

Builder from_guest(const char* destination) {
  return Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", destination);
}

void post(Bed& bed, const Bytes& bytes) {
  Frame frame;
  iovec body{};
  REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
  bed.gateway.send({&frame, 1});
}

bool is_unreachable(const Bytes& frame) {
  const packets::Parsed parsed = packets::parse_frame(frame);
  return parsed.icmp &&
         (parsed.icmp->type == kIcmpUnreachable || parsed.icmp->type == kIcmpv6Unreachable) &&
         !parsed.icmp->echo;
}

}  // namespace

TEST_CASE("each refusal carries the log's line, said or not") {
  Bed bed = make_bed();
  NoteSink sink(bed);
  const std::vector<Builder> packets = {
      from_guest("8.8.8.8").echo_request(5, 9),
      from_guest("8.8.8.8").udp(1000, 123).payload("x"),
      from_guest("8.8.8.8").tcp(1000, 443, kTcpSyn),
      Builder().eth(kGuest, kGatewayMac6).ip("fec0::15", "2001:db8::1").echo_request(5, 9),
  };
  for (const Builder& packet : packets) {
    bed.log.lines.clear();
    sink.frames.clear();
    for (int i = 0; i < 3; ++i) bed.send(packet);
    REQUIRE(sink.frames.size() == 3);
    REQUIRE(bed.log.lines.size() == 1);  // once, though three frames tell the guest
    for (size_t i = 0; i < 3; ++i) {
      CHECK(is_unreachable(sink.frames[i]));
      CHECK(sink.notes[i] == bed.log.lines[0]);
    }
  }
}

TEST_CASE("a note stays with its frame through bursts of many kinds") {
  Bed bed = make_bed();
  NoteSink sink(bed);
  // All in one tick, more than a burst holds; every third one is a reply, which needs no reason.
  constexpr size_t kCount = 300;
  for (size_t i = 0; i < kCount; ++i) {
    const auto id = static_cast<uint16_t>(i);
    if (i % 3 == 0) {
      post(bed, from_guest("10.0.2.2").echo_request(id, 1).build());
    } else {
      post(bed, from_guest(i % 3 == 1 ? "8.8.8.8" : "9.9.9.9").echo_request(id, 1).build());
    }
  }
  bed.run();
  REQUIRE(sink.frames.size() == kCount);
  CHECK(sink.burst_count >= kCount / kBurstFrames);
  for (size_t i = 0; i < kCount; ++i) {
    CAPTURE(i);
    const char* target = i % 3 == 1 ? "8.8.8.8" : "9.9.9.9";
    if (i % 3 == 0) {
      CHECK(sink.notes[i].empty());
    } else {
      CHECK(sink.notes[i].find(target) != std::string::npos);
    }
  }
  CHECK(bed.gateway.notes().empty());
}

TEST_CASE("what is answered without a reason carries no note") {
  Bed bed = make_bed();
  NoteSink sink(bed);
  bed.send(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.15", "10.0.2.2"));
  bed.send(from_guest("10.0.2.2").echo_request(5, 9));
  REQUIRE(sink.frames.size() >= 2);
  for (const std::string& note : sink.notes) CHECK(note == "");
}

TEST_CASE("an echo the host does not permit carries why") {
  Bed bed = make_bed();
  NoteSink sink(bed);
  tests::enter_private_network();  // a new one, where nobody may
  bed.send(from_guest("127.0.0.9").echo_request(5, 9));
  REQUIRE(sink.frames.size() == 1);
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(sink.notes[0] == bed.log.lines[0]);
  CHECK(sink.notes[0].find("ping_group_range") != std::string::npos);
}

TEST_CASE("staged notes count towards what is staged") {
  Bed bed = make_bed();
  NoteSink sink(bed);
  const Bytes ping = from_guest("8.8.8.8").echo_request(1, 1).build();
  constexpr size_t kCount = 60'000;
  for (size_t i = 0; i < kCount; ++i) post(bed, ping);
  bed.run();
  size_t bytes = 0;
  for (size_t i = 0; i < sink.frames.size(); ++i) {
    bytes += sink.frames[i].size() + sink.notes[i].size();
  }
  CHECK(bytes <= Gateway::kStagedBytesMax);
  CHECK(bytes > Gateway::kStagedBytesMax - 4096);
  CHECK(bed.dropped(DropReason::kQueueFull) == kCount - sink.frames.size());
}
