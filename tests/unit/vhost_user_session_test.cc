#include <doctest/doctest.h>

#include <random>

#include "netstack/wire/arp.h"
#include "tests/unit/vhost_guest.h"

using namespace vhost_bed;

TEST_CASE("a guest that reboots starts its rings again; migration bits change nothing") {
  for (const uint64_t kind : kRingKinds) {
    CAPTURE(kind);
    Guest guest(kPlain | kind);
    guest.send(numbered_frame(60, 1));
    guest.kick(1);
    guest.front.send(VhostUserRequest::kSetFeatures, kPlain | kind | kFeatureLogAll);
    guest.send(numbered_frame(60, 2));
    guest.kick(1);
    for (uint32_t ring : {0U, 1U}) {
      guest.front.send(VhostUserRequest::kGetVringBase, VringStateWire{ring, 0});
      guest.settle();
      const auto reply = guest.front.reply();
      REQUIRE(reply);
      const uint32_t base = guest.packed ? 0x8000'8000U : 0U;
      const uint32_t used = guest.packed ? 0x2'0002U : 2U;
      CHECK(reply->as<VringStateWire>(0).number == base + (ring == 1 ? used : 0));
    }
    guest.send(numbered_frame(60, 3));
    guest.kick(1);
    CHECK(guest.out.take().size() == 2);
    for (uint32_t ring : {0U, 1U}) {  // new rings at new places
      guest.rings[ring] = std::make_unique<DriverRing>(guest.ram, uint16_t{32}, guest.packed);
      guest.front.start_ring(ring, *guest.rings[ring], guest.kicks[ring].get(),
                             guest.calls[ring].get(), guest.packed ? 0x8000 : 0);
    }
    guest.send(numbered_frame(60, 4));
    guest.settle();  // what was there before the ring started needs no kick
    CHECK(guest.out.take() == std::vector<Bytes>{numbered_frame(60, 4)});
  }
}

TEST_CASE(
    "a ring that starts calls its guest, which may have chains back that it was not told of") {
  Guest guest(kPlain);
  guest.front.send(VhostUserRequest::kGetVringBase, VringStateWire{1, 0});
  guest.front.send(VhostUserRequest::kSetVringCall, uint64_t{1}, {guest.calls[1].get()});
  guest.settle();
  event_count(guest.calls[1]);
  guest.front.send(VhostUserRequest::kSetVringKick, uint64_t{1}, {guest.kicks[1].get()});
  guest.settle();
  CHECK(event_count(guest.calls[1]) > 0);
}

TEST_CASE("a guest that has migrated to here is announced to the LAN") {
  Guest guest(kPlain);
  const Mac mac{{0x52, 0x54, 0, 0, 0, 0x0a}};
  uint64_t word = 0;
  mac.write(reinterpret_cast<uint8_t*>(&word));
  guest.front.send(VhostUserRequest::kSendRarp, word);
  guest.settle();
  const auto frames = guest.out.take();
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].size() == 60);
  CHECK(Mac::read(frames[0].data()) == kBroadcast);
  CHECK(Mac::read(&frames[0][6]) == mac);
  CHECK(read_u16(&frames[0][12]) == 0x8035);
  const auto arp = parse_arp(std::span(frames[0]).subspan(14));
  REQUIRE(arp);
  CHECK(arp->operation == 3);
  CHECK(arp->sender_mac == mac.octets);
  CHECK(arp->target_mac == mac.octets);
  CHECK(guest.host.reasons.empty());

  guest.front.send(VhostUserRequest::kSendRarp, ~uint64_t{0});
  guest.settle();
  REQUIRE(guest.host.reasons.size() == 1);
  CHECK(guest.host.reasons[0].find("SEND_RARP was refused: the address of a group") !=
        std::string::npos);
}

TEST_CASE("memory is added and removed under running rings") {
  Guest guest(kPlain);
  guest.front.send(VhostUserRequest::kSetProtocolFeatures,
                   kProtocolReplyAck | kProtocolConfigureMemSlots);
  GuestRam more(65'536);
  SingleRegionWire wire{0, more.region()};
  wire.region.guest_address = kGuestBase + (64U << 20U);
  wire.region.user_address = kUserBase + (64U << 20U);
  const auto acknowledged = [&](VhostUserRequest request, std::vector<int> fds) {
    guest.front.send(request, wire, std::move(fds), sizeof wire, 1 | kVhostUserNeedReply);
    guest.settle();
    const auto reply = guest.front.reply();
    REQUIRE(reply);
    CHECK(reply->head.flags == (kVhostUserVersion | kVhostUserReply));
    return reply->as<uint64_t>() == 0;
  };
  CHECK(acknowledged(VhostUserRequest::kAddMemReg, {more.file()}));
  GuestRam other(65'536);
  CHECK_FALSE(acknowledged(VhostUserRequest::kAddMemReg, {other.file()}));  // in its place
  wire.region.file_offset = 4096;
  wire.region.size -= 4096;
  CHECK_FALSE(acknowledged(VhostUserRequest::kAddMemReg, {more.file()}));  // a part of it
  wire.region = {wire.region.guest_address, 65'536, wire.region.user_address, 0};
  CHECK(acknowledged(VhostUserRequest::kAddMemReg, {more.file()}));  // for a second queue pair
  CHECK(acknowledged(VhostUserRequest::kRemMemReg, {}));             // by one of the two
  std::memset(more.base(), 0, 12);
  const Bytes frame = numbered_frame(100, 5);
  std::memcpy(more.base() + 12, frame.data(), frame.size());
  guest.rings[1]->add({{wire.region.guest_address, 112}}, false);
  guest.kick(1);
  CHECK(guest.out.take() == std::vector<Bytes>{frame});
  CHECK(acknowledged(VhostUserRequest::kRemMemReg, {}));
  CHECK_FALSE(acknowledged(VhostUserRequest::kRemMemReg, {}));
  guest.send(frame);
  guest.kick(1);
  CHECK(guest.out.take() == std::vector<Bytes>{frame});
  guest.rings[1]->add({{wire.region.guest_address, 112}}, false);  // it is gone now
  guest.kick(1);
  CHECK(guest.host.reasons.size() == 1);
}

TEST_CASE("a guest that lies loses its port, with one sentence, and no other port notices") {
  for (const uint64_t kind : {uint64_t{0}, kFeatureRingPacked}) {
    Guest sender(kPlain | kind);
    Guest liar(kPlain | kind);
    sender.wire.out = liar.port;
    liar.rings[0]->add({{12, 4096}}, true);
    sender.send(numbered_frame(60, 1));
    sender.kick(1);
    CHECK(
        liar.host.reasons ==
        std::vector<std::string>{"its guest's receive ring contradicts the virtio specification"});
    send_all(*liar.port, {numbered_frame(60, 1)});
    CHECK(liar.port->counters().dropped(DropReason::kPeerGone) == 2);
    sender.wire.out = &sender.out;
    sender.send(numbered_frame(60, 2));
    sender.kick(1);
    CHECK(sender.out.received_count() == 1);
    CHECK(sender.host.reasons.empty());
    liar.settle();
    CHECK_FALSE(liar.host.owned);

    Guest other(kPlain | kind);
    other.rings[1]->add_raw({~uint64_t{0}, 4}, 0);
    other.kick(1);
    CHECK(
        other.host.reasons ==
        std::vector<std::string>{"its guest's transmit ring contradicts the virtio specification"});
  }
}

TEST_CASE("memory that is taken away ends the port and not the process") {
  for (const bool sends : {true, false}) {
    CAPTURE(sends);
    Guest guest(kPlain);
    guest.give_buffers(1, 2048);
    guest.send(numbered_frame(1500, 1));
    guest.ram.shrink();
    if (sends) {
      guest.kick(1);
    } else {
      send_all(*guest.port, {numbered_frame(60, 1)});
    }
    guest.settle();
    CHECK(guest.host.reasons ==
          std::vector<std::string>{"its front end took away memory that is in use"});
    CHECK_FALSE(guest.host.owned);
  }
}

TEST_CASE("a front end that leaves, or breaks the protocol, ends its port") {
  const auto reason = [](auto&& act) {
    Guest guest(kPlain);
    act(guest);
    guest.settle();
    REQUIRE(guest.host.reasons.size() == 1);
    CHECK_FALSE(guest.host.owned);
    return guest.host.reasons[0];
  };
  using G = Guest&;
  const auto has = [](const std::string& text, const char* part) {
    INFO(text);
    return text.find(part) != std::string::npos;
  };
  const uint64_t word = 0;
  CHECK(reason([](G g) { g.front.socket.reset(); }).empty());
  CHECK(has(reason([&](G g) { g.front.send_bytes(99, 1, &word, 8, {}); }), "request 99"));
  CHECK(has(reason([](G g) {
              (void)!::write(g.front.socket.get(), "hello", 5);
              g.front.socket.reset();
            }),
            "a part of a message"));
  CHECK(has(reason([&](G g) { g.front.send_bytes(1, 2, &word, 8, {}); }), "version 1"));
  CHECK(has(reason([&](G g) { g.front.send_bytes(2, 1, &word, 4, {}); }), "SET_FEATURES with 4"));
  CHECK(has(reason([&](G g) {
              const VhostUserHead head{5, 1, 100'000};
              (void)!::write(g.front.socket.get(), &head, sizeof head);
            }),
            "longer than any"));
  CHECK(has(reason([&](G g) {
              const int fd = g.ram.file();
              g.front.send_bytes(2, 1, &word, 8, {fd});
            }),
            "1 descriptors"));
  CHECK(has(reason([&](G g) {
              const int fd = g.ram.file();
              g.front.send_bytes(5, 1, &word, 8, std::vector<int>(9, fd));
            }),
            "more descriptors"));
  CHECK(has(reason([](G g) { g.front.send(VhostUserRequest::kSetFeatures, ~uint64_t{0}); }),
            "not offered"));
  CHECK(has(reason([](G g) {
              g.front.send(VhostUserRequest::kSetVringEnable, VringStateWire{16, 1});
            }),
            "no such ring"));
  CHECK(has(reason([](G g) {
              g.front.send(VhostUserRequest::kSetVringKick, uint64_t{1}, {g.ram.file()});
            }),
            "no eventfd"));
}

TEST_CASE("messages in single bytes are understood; descriptors are all closed") {
  const auto open_fds = [] {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
      ++count;
    }
    return count;
  };
  const size_t before = open_fds();
  {
    Guest guest(kPlain);
    const VhostUserHead head{static_cast<uint32_t>(VhostUserRequest::kGetFeatures), 1, 0};
    for (size_t i = 0; i < sizeof head; ++i) {
      (void)!::write(guest.front.socket.get(), reinterpret_cast<const char*>(&head) + i, 1);
      guest.settle();
    }
    const auto reply = guest.front.reply();
    REQUIRE(reply);
    CHECK((reply->as<uint64_t>() & kFeatureRingPacked) != 0);
    const int fd = guest.ram.file();
    guest.front.send_bytes(5, 1, "abcdefgh", 8, std::vector<int>(8, fd));
    guest.settle();
    CHECK(guest.host.reasons.size() == 1);
  }
  CHECK(open_fds() == before);
}

TEST_CASE("an idle guest costs nothing: the loop sleeps and kicks are on") {
  for (const uint64_t kind : kRingKinds) {
    Guest guest(kPlain | kind);
    guest.send(numbered_frame(60, 1));
    guest.kick(1);
    for (int i = 0; i < 1000 && guest.port->awake(); ++i) guest.loop.tick(0);
    CHECK_FALSE(guest.port->awake());
    CHECK(guest.rings[1]->device_wants_kicks());
    CHECK(guest.loop.next_deadline_ns() == UINT64_MAX);
  }
}

// Random messages and random memory, many front ends' worth of both. Whatever they do, the port
// either stands or has left with a sentence.
TEST_CASE("random front ends and guests") {
  constexpr uint32_t kSeed = 7;
  constexpr int kFrontEnds = 150;
  std::mt19937 random(kSeed);
  const auto upto = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  size_t left = 0;
  size_t frames = 0;
  for (int round = 0; round < kFrontEnds; ++round) {
    const uint64_t kind = kRingKinds[upto(4)];
    Guest guest(kPlain | kind | kMergeable | kChecksums | kSegments, 1 + upto(2) % 2U, 16);
    for (int step = 0; step < 60 && guest.host.owned; ++step) {
      DriverRing& ring = *guest.rings[upto(static_cast<uint32_t>(guest.rings.size()))];
      const size_t span = 16U * ring.count();
      for (uint32_t i = 0; i < upto(6); ++i) {  // a few bytes of a few descriptors
        uint8_t* at = guest.ram.at(ring.descriptors) + upto(static_cast<uint32_t>(span));
        *at = static_cast<uint8_t>(random());
      }
      if (upto(8) == 0) {
        guest.ram.at(ring.driver_area)[upto(8)] = static_cast<uint8_t>(random());
      }
      VnetHeaderWire header =
          upto(2) == 0 ? tcp_order(static_cast<uint16_t>(upto(3000))) : VnetHeaderWire{};
      if (upto(4) == 0) header.checksum_start = static_cast<uint16_t>(random());
      Bytes frame = tcp_frame(upto(5000)).build();
      if (upto(3) == 0) frame[upto(static_cast<uint32_t>(frame.size()))] ^= 0xff;
      if (upto(8) == 0) frame.resize(upto(20));
      guest.send(frame, header, 1 + upto(6), upto(2) == 0);
      guest.give_buffers(upto(3), 1 + upto(2000));
      guest.kick(1);
      if (guest.host.owned) send_all(*guest.port, {numbered_frame(60 + upto(3000), 1)});
      if (upto(20) == 0) {
        Bytes payload(upto(265));
        for (uint8_t& byte : payload) byte = static_cast<uint8_t>(upto(4) == 0 ? random() : 0);
        const std::vector<int> fds(upto(3), guest.ram.file());
        guest.front.send_bytes(upto(42), 1U | upto(2) << 3U, payload.data(),
                               static_cast<uint32_t>(payload.size()), fds);
      }
      guest.settle();
    }
    frames += guest.out.received_count();
    if (!guest.host.reasons.empty()) ++left;
  }
  CHECK(left > 20);
  CHECK(frames > 500);
}
