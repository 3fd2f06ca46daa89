#include <doctest/doctest.h>

#include "tests/unit/vhost_guest.h"

using namespace vhost_bed;

TEST_CASE("a guest's frames come whole, from any layout of buffers, and the buffers go back") {
  for (const uint64_t kind : kRingKinds) {
    CAPTURE(kind);
    Guest guest(kPlain | kind);
    std::vector<Bytes> sent;
    for (uint32_t i = 0; i < 400; ++i) {
      sent.push_back(numbered_frame(60 + i * 13 % 1400, i));
      const size_t pieces = 1 + i % 4;
      guest.send(sent.back(), {}, pieces, i % 3 == 0);
      if (i % 10 != 9) continue;
      guest.kick(1);
      for (uint32_t back = 0; back < 10; ++back) {
        const auto used = guest.rings[1]->get_used();
        REQUIRE(used);
        CHECK(used->size == 0);
      }
    }
    CHECK(guest.out.take() == sent);
    CHECK(event_count(guest.calls[1]) >= (kind & kFeatureEventIndex ? 1U : 40U));
    CHECK(guest.port->counters().ingress_frames == sent.size());
  }
}

TEST_CASE("a frame in more pieces than ports like comes in few") {
  Guest guest(kPlain, 1, 256);
  const Bytes frame = numbered_frame(9000, 7);
  guest.send(frame, {}, 200, true);
  guest.send(frame, {}, 200);
  guest.kick(1);
  CHECK(guest.out.take() == std::vector<Bytes>{frame, frame});
}

TEST_CASE("frames for a guest: one copy behind a header, mergeable or not") {
  for (const uint64_t kind : kRingKinds) {
    for (const bool mergeable : {false, true}) {
      CAPTURE(kind);
      CAPTURE(mergeable);
      Guest guest(kPlain | kind | (mergeable ? kMergeable : 0));
      const uint32_t size = mergeable ? 256 : 2048;
      std::vector<Bytes> sent;
      for (uint32_t i = 0; i < 200; ++i) sent.push_back(numbered_frame(60 + i * 13 % 1400, i));
      size_t at = 0;
      for (uint32_t i = 0; i < 200; i += 5) {
        guest.give_buffers(40 - guest.given[0].size() + guest.taken[0], size);
        send_all(*guest.port, {sent.begin() + i, sent.begin() + i + 5});
        guest.settle();
        while (const auto got = guest.receive()) {
          REQUIRE(at < sent.size());
          CHECK(got->frame == sent[at]);
          CHECK(got->header.flags == 0);
          const size_t need = (sent[at].size() + kHeader_size + size - 1) / size;
          CHECK(got->buffer_count == need);
          ++at;
        }
      }
      CHECK(at == sent.size());
      CHECK(event_count(guest.calls[0]) > 0);
      CHECK(guest.port->counters().egress_frames == 200);
    }
  }
}

TEST_CASE("a frame that no buffer holds is dropped alone") {
  Guest guest(kPlain);
  guest.give_buffers(4, 500, 0, 2);
  send_all(*guest.port, {numbered_frame(60, 1), numbered_frame(1514, 2), numbered_frame(900, 3)});
  guest.settle();
  CHECK(guest.receive()->frame == numbered_frame(60, 1));
  CHECK(guest.receive()->frame == numbered_frame(900, 3));
  CHECK_FALSE(guest.receive());
  CHECK(guest.port->counters().dropped(DropReason::kTooLong) == 1);
  CHECK(guest.port->counters().egress_frames == 2);
  CHECK(guest.port->counters().egress_bytes == 960);
}

TEST_CASE("frames wait for a guest without buffers, in order, and come when it kicks") {
  for (const uint64_t kind : kRingKinds) {
    CAPTURE(kind);
    Guest guest(kPlain | kind | kMergeable);
    std::vector<Bytes> sent;
    for (uint32_t i = 0; i < 100; ++i) sent.push_back(numbered_frame(100, i));
    guest.give_buffers(10, 512);
    send_all(*guest.port, sent);
    guest.settle();
    CHECK(guest.rings[0]->device_wants_kicks());
    size_t at = 0;
    for (int i = 0; i < 9; ++i) {
      while (const auto got = guest.receive()) CHECK(got->frame == sent[at++]);
      CHECK(at == 10U * (i + 1));
      guest.give_buffers(10, 512);
      guest.kick(0);
    }
    while (const auto got = guest.receive()) CHECK(got->frame == sent[at++]);
    CHECK(at == 100);
    CHECK(guest.port->counters().dropped() == 0);
  }
}

TEST_CASE("a guest that stands still costs a bounded queue, then drops, and its reset the rest") {
  Guest guest(kPlain | kMergeable);
  const Bytes frame = numbered_frame(60'000, 1);
  for (int i = 0; i < 200; ++i) send_all(*guest.port, {frame});
  const PortCounters& counters = guest.port->counters();
  CHECK(counters.egress_frames + counters.dropped(DropReason::kQueueFull) == 200);
  CHECK(counters.egress_frames == kEgressQueueLimit_size / 60'014);
  guest.front.send(VhostUserRequest::kGetVringBase, VringStateWire{0, 0});
  guest.settle();
  CHECK(counters.egress_frames == 0);
  CHECK(counters.egress_bytes == 0);
  CHECK(counters.dropped() == 200);
  send_all(*guest.port, {frame});
  CHECK(counters.dropped(DropReason::kNotReady) == 1);
}

TEST_CASE(
    "offloads pass untouched between those that agreed to them, and are finished for others") {
  const Bytes super = tcp_frame(20'000).partial_checksum().build();
  for (const bool agreed : {true, false}) {
    CAPTURE(agreed);
    Guest sender(kPlain | kChecksums | kSegments, 1, 256);
    Guest receiver(kPlain | kMergeable | (agreed ? kChecksums | kSegments : 0), 1, 256);
    sender.wire.out = receiver.port;
    receiver.give_buffers(100, 2048);
    sender.send(super, tcp_order(1448), 5);
    sender.send(tcp_frame(100).partial_checksum().build(), tcp_order(0), 2);
    sender.kick(1);
    receiver.settle();
    std::vector<Guest::Received> got;
    while (auto one = receiver.receive()) got.push_back(std::move(*one));
    REQUIRE(got.size() == (agreed ? 2 : 15));
    if (agreed) {
      CHECK(got[0].frame == super);
      CHECK(got[0].header.flags == 1);
      CHECK(got[0].header.gso_type == 1);
      CHECK(got[0].header.gso_bytes == 1448);
      CHECK(got[0].header.checksum_start == 34);
      CHECK(got[0].header.checksum_offset == 16);
      CHECK(got[1].header.flags == 1);
      CHECK(got[1].header.gso_type == 0);
    } else {
      for (const auto& one : got) {
        CHECK(one.header.flags == 0);
        CHECK(one.header.gso_type == 0);
        CHECK(packets::parse_frame(one.frame).transport_checksum_valid);
      }
    }
  }
}

TEST_CASE("a guest may leave undone only what it agreed to, and only inside its frame") {
  const auto refused = [](uint64_t features, const Bytes& frame, VnetHeaderWire header) {
    Guest guest(kPlain | features);
    guest.send(frame, header);
    guest.kick(1);
    const bool back = guest.rings[1]->get_used().has_value();
    CHECK(back);
    CHECK(guest.host.owned);
    return guest.out.received_count() == 0 &&
           guest.port->counters().dropped(DropReason::kBadOffload) == 1;
  };
  const Bytes frame = tcp_frame(3000).partial_checksum().build();
  const uint64_t all = kChecksums | kSegments;
  CHECK_FALSE(refused(all, frame, tcp_order(1448)));
  CHECK(refused(0, frame, tcp_order(1448)));
  CHECK(refused(0, frame, tcp_order(0)));
  CHECK(refused(kChecksums, frame, tcp_order(1448)));
  VnetHeaderWire header = tcp_order(1448);
  header.checksum_start = static_cast<uint16_t>(frame.size() - 17);
  CHECK(refused(all, frame, header));
  header = tcp_order(1448);
  header.checksum_offset = 0xffff;
  CHECK(refused(all, frame, header));
  header = tcp_order(1448);
  header.flags = 0;
  CHECK(refused(all, frame, header));
  header = tcp_order(1448);
  header.gso_type = 3;  // UDP fragments
  CHECK(refused(all, frame, header));
  header = tcp_order(1448);
  header.gso_bytes = 0;
  CHECK(refused(all, frame, header));
}

TEST_CASE("several queue pairs: a flow keeps to its ring, flows spread, all rings are read") {
  Guest guest(kPlain | kMergeable, 4, 256);
  std::array<size_t, 4> count{};
  for (size_t pair = 0; pair < 4; ++pair) guest.give_buffers(200, 512, pair);
  for (uint16_t port = 1; port <= 60; ++port) {
    send_all(*guest.port, {tcp_frame(100, port).build(), tcp_frame(200, port).build()});
  }
  guest.settle();
  for (size_t pair = 0; pair < 4; ++pair) {
    while (const auto first = guest.receive(pair)) {
      const auto second = guest.receive(pair);
      REQUIRE(second);
      CHECK(first->frame.size() + 100 == second->frame.size());
      CHECK(packets::parse_frame(first->frame).tcp->source_port ==
            packets::parse_frame(second->frame).tcp->source_port);
      ++count[pair];
    }
    CHECK(count[pair] > 3);
    guest.send(numbered_frame(100, static_cast<uint32_t>(pair)), {}, 1, false, pair);
    guest.kick(2 * pair + 1);
  }
  CHECK(count[0] + count[1] + count[2] + count[3] == 60);
  CHECK(guest.out.received_count() == 4);

  guest.front.send(VhostUserRequest::kSetVringEnable, VringStateWire{7, 0});
  guest.settle();
  guest.send(numbered_frame(100, 9), {}, 1, false, 3);  // a disabled ring: taken, not sent on
  guest.kick(7);
  CHECK(guest.out.received_count() == 4);
}
