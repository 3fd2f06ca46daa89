#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "netstack/virtio/in_flight.h"
#include "tests/unit/queue_bed.h"

using namespace queue_bed;

TEST_CASE("a back end that takes over from a killed one goes on where it was") {
  for (const bool packed : {false, true}) {
    CAPTURE(packed);
    InFlightWire wire{0, 0, 2, 8, 0};
    InFlightRecord first;
    Fd file;
    REQUIRE(first.make(wire, packed, file).empty());
    const auto test = [&](auto& bed, auto resume) {
      bed.setup.in_flight = first.of(1, 8);
      resume(bed.setup);
      bed.queue.emplace(bed.setup);
      for (int i = 0; i < 13; ++i) {
        bed.driver.add({bed.buffer("old")}, false);
        REQUIRE(bed.pop() == Pop::kChain);
        bed.give_back();
        REQUIRE(bed.driver.get_used());
      }
      bed.driver.add({bed.buffer("next")}, false);
      bed.driver.add({bed.buffer("later")}, false);
      REQUIRE(bed.pop() == Pop::kChain);  // and here it is killed

      InFlightRecord second;
      REQUIRE(second.take(wire, packed, std::move(file)).empty());
      RingSetup setup = bed.setup;
      setup.base = 0x8000;  // what a front end says that knows no better
      setup.in_flight = second.of(1, 8);
      resume(setup);
      bed.queue.emplace(setup);
      REQUIRE(bed.pop() == Pop::kChain);
      CHECK(bed.text() == "next");
      bed.give_back();
      REQUIRE(bed.pop() == Pop::kChain);
      CHECK(bed.text() == "later");
    };
    if (packed) {
      Bed<PackedQueue> bed;
      test(bed, resume_packed);
    } else {
      Bed<SplitQueue> bed;
      test(bed, resume_split);
    }
  }
}

TEST_CASE(
    "a packed batch that was half published when the back end died is neither lost nor twice") {
  for (const bool driver_has_it : {false, true}) {
    CAPTURE(driver_has_it);
    InFlightWire wire{0, 0, 1, 8, 0};
    InFlightRecord record;
    Fd file;
    REQUIRE(record.make(wire, true, file).empty());
    Bed<PackedQueue> bed;
    bed.setup.in_flight = record.of(0, 8);
    resume_packed(bed.setup);
    bed.queue.emplace(bed.setup);
    bed.driver.add({bed.buffer("first")}, false);
    bed.driver.add({bed.buffer("second")}, false);
    REQUIRE(bed.pop() == Pop::kChain);
    if (driver_has_it) {
      bed.give_back();
      std::memcpy(record.of(0, 8) + 18, "\0\0", 2);  // old_used as it was before the batch
    } else {
      begin_batch(record.of(0, 8), 1, true);
    }
    resume_packed(bed.setup);
    bed.queue.emplace(bed.setup);
    REQUIRE(bed.pop() == Pop::kChain);
    CHECK(bed.text() == (driver_has_it ? "second" : "first"));
  }
}

TEST_CASE("a packed ring shows where it stands, whatever the front end says") {
  constexpr uint16_t kCount = 8;
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    CAPTURE(round);
    Bed<PackedQueue> bed(kCount, Direction::kWrite);
    struct Made {
      std::string words;
      uint16_t slots;
    };
    std::deque<Made> made;
    uint16_t free = kCount;
    uint32_t number = 0;
    const auto make = [&](uint16_t slots) {
      std::vector<Buffer> buffers;
      const std::string words = std::to_string(number++);
      buffers.push_back(bed.buffer(words));
      while (buffers.size() < slots) buffers.push_back(bed.buffer("."));
      bed.driver.add(buffers, true);
      made.push_back({words + std::string(slots - 1U, '.'), slots});
      free = static_cast<uint16_t>(free - slots);
    };
    std::vector<std::string> wanted;
    const size_t steps = random() % 40;
    uint16_t last_slots = 1;
    for (size_t i = 0; i < steps; ++i) {
      const auto slots = static_cast<uint16_t>(1 + random() % 3);
      if (slots <= free && random() % 3 != 0) {
        make(slots);
      } else if (!made.empty()) {
        REQUIRE(bed.pop() == Pop::kChain);
        CHECK(bed.text() == made.front().words);
        bed.give_back(1);
        REQUIRE(bed.driver.get_used());
        last_slots = made.front().slots;
        free = static_cast<uint16_t>(free + last_slots);
        made.pop_front();
      }
    }
    // Where the ring is so full that the last mark is gone and its rest is not, nothing shows it.
    if (free > 0 && free < last_slots) continue;
    while (made.size() < 4 && free > last_slots) make(1);
    RingSetup setup = bed.setup;
    setup.base = 0x8900'8900U;  // nonsense
    resume_packed(setup);
    CHECK(setup.base == bed.queue->base());
    bed.queue.emplace(setup);
    for (const Made& chain : made) {
      REQUIRE(bed.pop() == Pop::kChain);
      CHECK(bed.text() == chain.words);
    }
    CHECK(bed.pop() == Pop::kEmpty);
  }
}

TEST_CASE("a frame that was half given back when the back end died is completed") {
  constexpr uint16_t kCount = 8;
  for (uint32_t start = 0; start < 2 * kCount; ++start) {
    for (size_t chains = 1; chains <= kCount; ++chains) {
      for (size_t missing = 0; missing < chains; ++missing) {
        CAPTURE(start);
        CAPTURE(chains);
        CAPTURE(missing);
        Bed<PackedQueue> bed(kCount, Direction::kWrite);
        for (uint32_t lap = 0; lap < start; ++lap) {
          bed.driver.add({bed.buffer("old")}, true);
          REQUIRE(bed.pop() == Pop::kChain);
          bed.give_back(3);
          REQUIRE(bed.driver.get_used());
        }
        for (size_t i = 0; i < kCount; ++i) bed.driver.add({bed.buffer("room")}, true);
        const auto slot = [&](size_t chain) {
          return bed.ram.at(bed.driver.descriptors) + 16 * ((start + chain) % kCount);
        };
        std::array<std::array<uint8_t, 16>, kCount> before{};
        for (size_t i = 0; i < kCount; ++i) std::memcpy(before[i].data(), slot(i), 16);
        for (size_t i = 0; i < chains; ++i) {
          REQUIRE(bed.pop() == Pop::kChain);
          bed.queue->push(bed.chain, i + 1 < chains ? 4 : 1, i != 0);
        }
        bed.queue->publish();
        for (size_t i = 0; i < missing; ++i) std::memcpy(slot(i), before[i].data(), 16);
        RingSetup setup = bed.setup;
        resume_packed(setup);
        CHECK(setup.base == bed.queue->base());
        for (size_t i = 0; i < chains; ++i) {
          const auto used = bed.driver.get_used();
          REQUIRE(used);
          CHECK(used->size == (i + 1 < chains ? 4 : 1));
        }
        CHECK(!bed.driver.get_used());
      }
    }
  }
}

// Where a thread of the driver looks while we give back: it never finds a part of a frame.
TEST_CASE_TEMPLATE("a frame in several chains is given back whole", Queue, SplitQueue,
                   PackedQueue) {
  constexpr uint16_t kCount = 64;
  constexpr int kFrames_count = 10'000;
  Bed<Queue> bed(kCount, Direction::kWrite);
  const Buffer buffer = bed.buffer("room");
  for (size_t i = 0; i < kCount; ++i) bed.driver.add({buffer}, true);
  std::atomic<int> seen = 0;
  int halves = 0;
  std::thread driver([&] {
    for (int frame = 0; frame < kFrames_count; ++frame) {
      while (!bed.driver.get_used()) std::this_thread::yield();
      for (size_t i = 1; i < kCount; ++i) {
        if (bed.driver.get_used()) continue;
        ++halves;
        while (!bed.driver.get_used()) std::this_thread::yield();
      }
      for (size_t i = 0; i < kCount; ++i) bed.driver.add({buffer}, true);
      seen = frame + 1;
    }
  });
  for (int frame = 0; frame < kFrames_count; ++frame) {
    while (seen != frame) std::this_thread::yield();
    size_t taken = 0;
    for (; bed.pop() == Pop::kChain; ++taken) bed.queue->push(bed.chain, 4, taken != 0);
    REQUIRE(taken == kCount);
    bed.queue->publish();
  }
  driver.join();
  CHECK(halves == 0);
}

TEST_CASE("a front end's word about a packed ring counts where the ring leaves room for it") {
  Bed<PackedQueue> bed;
  bed.driver.add({bed.buffer("a"), bed.buffer("b"), bed.buffer("c")}, false);
  bed.driver.add({bed.buffer("next")}, false);
  REQUIRE(bed.pop() == Pop::kChain);
  bed.give_back();
  uint8_t* mark = bed.ram.at(bed.driver.descriptors);
  mark[14] = static_cast<uint8_t>(mark[14] & ~kDescriptorNext);  // as other back ends leave it
  const auto resumed = [&](uint32_t said) {
    RingSetup setup = bed.setup;
    setup.base = said | said << 16U;
    resume_packed(setup);
    return setup.base & 0xffffU;
  };
  CHECK(resumed(0x8003) == 0x8003);
  for (const uint32_t wrong : {0x8000U, 0x8002U, 0x8004U, 0x0003U, 0x8900U}) {
    CHECK(resumed(wrong) == 0x8001);
  }
}

// QEMU drops what waits in a transmit ring that has lost its back end, from where it believes the
// ring to stand.
TEST_CASE("chains in front of some that the front end has given back are not left behind") {
  constexpr uint16_t kCount = 8;
  const auto test = [&](unsigned before, unsigned held, unsigned first, unsigned last) {
    CAPTURE(before);  // chains used up
    CAPTURE(held);    // chains that the dead back end left
    CAPTURE(first);   // of these, the front end gives back those from here
    CAPTURE(last);    // to before this one
    Bed<PackedQueue> bed(kCount);
    for (unsigned i = 0; i < before; ++i) {
      bed.driver.add({bed.buffer("old")}, false);
      REQUIRE(bed.pop() == Pop::kChain);
      bed.give_back();
      REQUIRE(bed.driver.get_used());
    }
    std::vector<uint16_t> ids;
    for (unsigned i = 0; i < held; ++i) {
      ids.push_back(bed.driver.add({bed.buffer(std::to_string(i))}, false));
    }
    for (unsigned i = first; i < last; ++i) {
      const unsigned at = before + i;
      const bool wrap = at / kCount % 2 == 0;
      const PackedDescriptor mark{
          0, 0, ids[i], static_cast<uint16_t>(wrap ? kDescriptorAvail | kDescriptorUsed : 0)};
      std::memcpy(bed.ram.at(bed.driver.descriptors + sizeof mark * (at % kCount) + 8), &mark.size,
                  8);
    }
    RingSetup setup = bed.setup;
    setup.base = 0x8000'8000U;
    resume_packed(setup);
    bed.queue.emplace(setup);
    for (unsigned i = 0; i < last; ++i) {  // the driver gets them in its order
      const auto used = bed.driver.get_used();
      REQUIRE(used);
      CHECK(used->id == ids[i]);
    }
    CHECK_FALSE(bed.driver.get_used());
    bed.driver.add({bed.buffer("new")}, false);
    for (unsigned i = last; i <= held; ++i) {
      REQUIRE(bed.pop() == Pop::kChain);
      CHECK(bed.text() == (i < held ? std::to_string(i) : "new"));
    }
    CHECK(bed.pop() == Pop::kEmpty);
  };
  for (unsigned before = 0; before < 3U * kCount; ++before) {
    for (unsigned held = 1; held <= kCount; ++held) {
      for (unsigned first = 0; first < held; ++first) {
        for (unsigned last = first + 1; last <= held; ++last) test(before, held, first, last);
      }
    }
  }
}

TEST_CASE("a front end's word that is one chain off is not believed of chains of one slot") {
  constexpr uint16_t kCount = 8;
  Bed<PackedQueue> bed(kCount, Direction::kWrite);
  for (int i = 0; i < kCount; ++i) bed.driver.add({bed.buffer("room")}, true);
  for (uint32_t used = 1; used <= 2U * kCount; ++used) {
    CAPTURE(used);
    REQUIRE(bed.pop() == Pop::kChain);
    bed.give_back(1);
    REQUIRE(bed.driver.get_used());
    bed.driver.add({bed.buffer("room")}, true);  // full: not one mark
    RingSetup setup = bed.setup;
    const auto place = [&](uint32_t at) {
      return at % kCount | (at / kCount % 2 == 0 ? 0x8000U : 0U);
    };
    setup.base = place(used + 1);
    resume_packed(setup);
    CHECK((setup.base & 0xffffU) == place(used));
  }
}

TEST_CASE("a back end that dies while it gives chains back leaves a ring that goes on") {
  for (const bool recorded : {false, true}) {
    CAPTURE(recorded);
    InFlightWire wire{0, 0, 1, 8, 0};
    InFlightRecord record;
    Fd file;
    REQUIRE(record.make(wire, true, file).empty());
    Bed<PackedQueue> bed;
    if (recorded) bed.setup.in_flight = record.of(0, 8);
    resume_packed(bed.setup);
    bed.queue.emplace(bed.setup);
    for (const char* words : {"one", "two", "three"}) bed.driver.add({bed.buffer(words)}, false);
    for (int i = 0; i < 2; ++i) {
      REQUIRE(bed.pop() == Pop::kChain);
      bed.queue->push(bed.chain, 0);
    }  // and here it is killed
    resume_packed(bed.setup);
    bed.queue.emplace(bed.setup);
    for (const char* words : {"one", "two", "three"}) {
      REQUIRE(bed.pop() == Pop::kChain);
      CHECK(bed.text() == words);
      bed.give_back();
      CHECK(bed.driver.get_used());
    }
    for (const char* words : {"four", "five"}) bed.driver.add({bed.buffer(words)}, false);
    REQUIRE(bed.pop() == Pop::kChain);
    bed.give_back();
    if (recorded) begin_batch(record.of(0, 8), 5, true);  // it dies when the driver has one of two
    resume_packed(bed.setup);
    bed.queue.emplace(bed.setup);
    REQUIRE(bed.pop() == Pop::kChain);
    CHECK(bed.text() == "five");
  }
}
