#include <doctest/doctest.h>

#include <random>

#include "tests/unit/queue_bed.h"

using namespace queue_bed;

TEST_CASE_TEMPLATE("chains come out in order with all their parts, and go back", Queue, SplitQueue,
                   PackedQueue) {
  Bed<Queue> bed;
  CHECK(bed.pop() == Pop::kEmpty);
  for (int lap = 0; lap < 50; ++lap) {  // round the ring many times
    const uint16_t one = bed.driver.add({bed.buffer("abc")}, false);
    const uint16_t two = bed.driver.add({bed.buffer("d"), bed.buffer("ef"), bed.buffer("")}, false);
    const uint16_t three = bed.driver.add_indirect({bed.buffer("gh"), bed.buffer("ij")}, false);
    const std::array<std::string, 3> expected{"abc", "def", "ghij"};
    for (const std::string& words : expected) {
      REQUIRE(bed.pop() == Pop::kChain);
      CHECK(bed.text() == words);
      CHECK(bed.chain.bytes == words.size());
      bed.queue->push(bed.chain, 7);
    }
    CHECK(bed.pop() == Pop::kEmpty);
    CHECK_FALSE(bed.driver.get_used());  // nothing is published yet
    bed.queue->publish();
    for (const uint16_t id : {one, two, three}) {
      const auto used = bed.driver.get_used();
      REQUIRE(used);
      CHECK(used->id == id);
      CHECK(used->size == 7);
    }
    CHECK_FALSE(bed.driver.get_used());
  }
}

TEST_CASE_TEMPLATE("chains that are given back are found again", Queue, SplitQueue, PackedQueue) {
  Bed<Queue> bed(8, Direction::kWrite);
  for (const char* words : {"one", "two"}) bed.driver.add({bed.buffer(words)}, true);
  const auto place = bed.queue->place();
  REQUIRE(bed.pop() == Pop::kChain);
  REQUIRE(bed.pop() == Pop::kChain);
  bed.queue->back_to(place);
  REQUIRE(bed.pop() == Pop::kChain);
  CHECK(bed.text() == "one");
}

TEST_CASE_TEMPLATE("a buffer over two neighbouring regions comes in two parts", Queue, SplitQueue,
                   PackedQueue) {
  Bed<Queue> bed;
  GuestRam more(8192);
  MemoryRegionWire region = more.region();
  region.guest_address = kGuestBase + kGuest_size;
  region.user_address = kUserBase + 2 * kGuest_size;
  REQUIRE(bed.memory.add(region, Fd(::dup(more.file()))).empty());
  std::memcpy(bed.ram.base() + kGuest_size - 2, "ab", 2);
  std::memcpy(more.base(), "cd", 2);
  bed.driver.add({{kGuestBase + kGuest_size - 2, 4}}, false);
  REQUIRE(bed.pop() == Pop::kChain);
  CHECK(bed.chain.parts.size() == 2);
  CHECK(bed.text() == "abcd");
}

TEST_CASE_TEMPLATE("what contradicts the specification is found", Queue, SplitQueue, PackedQueue) {
  const auto broken = [](auto&& spoil) {
    Bed<Queue> bed;
    spoil(bed);
    return bed.pop() == Pop::kBroken;
  };
  using B = Bed<Queue>&;
  CHECK(broken([](B b) { b.driver.add_raw({kGuestBase - 1, 4}, 0); }));
  CHECK(broken([](B b) { b.driver.add_raw({kGuestBase + kGuest_size - 3, 4}, 0); }));
  CHECK(broken([](B b) { b.driver.add_raw({~uint64_t{0} - 1, 4}, 0); }));
  CHECK(broken([](B b) { b.driver.add_raw({kGuestBase, 0xffff'ffffU}, 0); }));
  CHECK(broken([](B b) { b.driver.add_raw(b.buffer("x"), kDescriptorWrite); }));  // wrong way
  CHECK(broken([](B b) { b.driver.add_raw({kGuestBase, 15}, kDescriptorIndirect); }));
  CHECK(broken([](B b) { b.driver.add_raw({kGuestBase, 0}, kDescriptorIndirect); }));
  CHECK(broken([](B b) { b.driver.add_raw({0, 16}, kDescriptorIndirect); }));
  CHECK(broken([](B b) {
    b.driver.add_raw({kGuestBase, 16 * (kChainParts_max + 1)}, kDescriptorIndirect);
  }));
  CHECK(broken([](B b) {
    b.driver.add_raw(b.buffer("0123456789abcdef"), kDescriptorIndirect | kDescriptorNext);
  }));
  CHECK(broken([](B b) {  // more bytes than any frame
    b.driver.add_indirect({{kGuestBase, 1U << 20U}, {kGuestBase, 1U << 20U}}, false);
  }));
  if constexpr (!Bed<Queue>::kPacked) {
    CHECK(
        broken([](B b) { b.driver.add_raw(b.buffer("x"), kDescriptorNext, 8); }));  // no such slot
    CHECK(broken([](B b) { b.driver.add_raw(b.buffer("x"), kDescriptorNext, 0); }));  // a loop
    CHECK(broken([](B b) {  // an indirect table in an indirect table
      const SplitDescriptor inner{kGuestBase, 16, kDescriptorIndirect, 0};
      Bytes bytes(16);
      std::memcpy(bytes.data(), &inner, 16);
      b.driver.add_raw({b.ram.put(bytes), 16}, kDescriptorIndirect);
    }));
    CHECK(broken([](B b) {  // a table that goes round
      const SplitDescriptor inner{kGuestBase, 1, kDescriptorNext, 0};
      Bytes bytes(16);
      std::memcpy(bytes.data(), &inner, 16);
      b.driver.add_raw({b.ram.put(bytes), 16}, kDescriptorIndirect);
    }));
    CHECK(broken([](B b) { store_release(b.ram.at(b.driver.driver_area + 2), 9); }));  // of 8
    CHECK(broken([](B b) {  // a head that is none
      store_release(b.ram.at(b.driver.driver_area + 4), 8);
      store_release(b.ram.at(b.driver.driver_area + 2), 1);
    }));
  } else {
    CHECK(broken([](B b) {  // a chain of the whole ring that does not end
      for (int i = 0; i < 8; ++i) b.driver.add_raw(b.buffer("x"), kDescriptorNext);
    }));
  }
}

// As DPDK's guest driver leaves its transmit tables.
TEST_CASE("a packed table to be read may say WRITE; one to be written must") {
  const auto pop = [](Direction direction, uint16_t flags) {
    Bed<PackedQueue> bed(8, direction);
    const Buffer words = bed.buffer("abc");
    const PackedDescriptor entry{words.address, words.size, 0, flags};
    Bytes bytes(sizeof entry);
    std::memcpy(bytes.data(), &entry, sizeof entry);
    bed.driver.add_raw({bed.ram.put(bytes), sizeof entry}, kDescriptorIndirect);
    return bed.pop();
  };
  CHECK(pop(Direction::kRead, 0) == Pop::kChain);
  CHECK(pop(Direction::kRead, kDescriptorWrite) == Pop::kChain);
  CHECK(pop(Direction::kWrite, kDescriptorWrite) == Pop::kChain);
  CHECK(pop(Direction::kWrite, 0) == Pop::kBroken);
}

TEST_CASE_TEMPLATE("calls and kicks follow flags", Queue, SplitQueue, PackedQueue) {
  Bed<Queue> bed;
  CHECK_FALSE(bed.queue->wants_call());
  bed.driver.add({bed.buffer("a")}, false);
  REQUIRE(bed.pop() == Pop::kChain);
  bed.give_back();
  CHECK(bed.queue->wants_call());
  CHECK_FALSE(bed.queue->wants_call());  // once
  bed.driver.want_calls(false);
  bed.driver.add({bed.buffer("a")}, false);
  REQUIRE(bed.pop() == Pop::kChain);
  bed.give_back();
  CHECK_FALSE(bed.queue->wants_call());

  bed.queue->kicks_off();
  CHECK_FALSE(bed.driver.device_wants_kicks());
  CHECK_FALSE(bed.queue->kicks_on());
  CHECK(bed.driver.device_wants_kicks());
  bed.driver.add({bed.buffer("late")}, false);
  CHECK(bed.queue->kicks_on());  // it came before the driver could know
}

TEST_CASE("calls and kicks follow event indices, over the wrap of the index") {
  Bed<SplitQueue> bed(8, Direction::kRead, true);
  const uint64_t used_event = bed.driver.driver_area + 4 + 2 * 8;
  const uint64_t avail_event = bed.driver.device_area + 4 + 8 * 8;
  const auto one_more = [&] {
    bed.driver.add({{kGuestBase, 1}}, false);
    REQUIRE(bed.pop() == Pop::kChain);
    bed.give_back();
  };
  bool called = true;
  for (uint32_t i = 0; i < 70'000; ++i) {
    const bool wanted = i % 5 == 0;  // the driver asks to be told of this chain, or of none near
    store_release(bed.ram.at(used_event), static_cast<uint16_t>(wanted ? i : i + 0x4000));
    one_more();
    if (bed.queue->wants_call() != wanted) called = false;
  }
  CHECK(called);
  bed.queue->kicks_on();
  CHECK(load_acquire(bed.ram.at(avail_event)) == static_cast<uint16_t>(70'000));
  bed.queue->kicks_off();
  CHECK_FALSE(passes_event(load_acquire(bed.ram.at(avail_event)), static_cast<uint16_t>(70'100),
                           static_cast<uint16_t>(70'000)));
}

TEST_CASE("a packed ring's event offset is met once a lap, on either side of its wrap") {
  Bed<PackedQueue> bed(8, Direction::kRead, true);
  const auto set = [&](uint16_t offset_and_wrap) {
    store_release(bed.ram.at(bed.driver.driver_area), offset_and_wrap);
    store_release(bed.ram.at(bed.driver.driver_area + 2), kEventsAtOffset);
  };
  bool right = true;
  for (uint32_t i = 0; i < 800; ++i) {
    const bool first_lap = i / 8 % 2 == 0;
    set(static_cast<uint16_t>(5U | (first_lap ? 0x8000U : 0U)));  // slot 5 of this lap
    bed.driver.add({{kGuestBase, 1}}, false);
    REQUIRE(bed.pop() == Pop::kChain);
    bed.give_back();
    if (bed.queue->wants_call() != (i % 8 == 5)) right = false;
  }
  CHECK(right);
}

TEST_CASE_TEMPLATE("pages that are written are marked in the log, after they are written", Queue,
                   SplitQueue, PackedQueue) {
  Bed<Queue> bed(8, Direction::kWrite);
  const GuestRam log_file(4096 * 64);
  constexpr uint64_t kLog_size = (kGuestBase + kGuest_size) / kDirtyPage_size / 8;
  REQUIRE(::ftruncate(log_file.file(), kLog_size) == 0);
  REQUIRE(bed.log.open(log_file.file(), 0, kLog_size).empty());
  std::vector<uint8_t> bits(kLog_size);
  const auto marked = [&](uint64_t guest) {
    REQUIRE(::pread(log_file.file(), bits.data(), bits.size(), 0) ==
            static_cast<ssize_t>(bits.size()));
    const uint64_t page = guest / kDirtyPage_size;
    return (bits[page / 8] >> (page % 8) & 1U) != 0;
  };
  const uint64_t far = kGuestBase + kGuest_size / 2;
  bed.driver.add({{far, 3 * 4096}}, true);
  const auto place = bed.queue->place();
  REQUIRE(bed.pop() == Pop::kChain);
  bed.queue->back_to(place);
  REQUIRE(bed.pop() == Pop::kChain);
  bed.queue->push(bed.chain, 5000);
  CHECK_FALSE(marked(far));
  bed.queue->publish();
  CHECK(marked(far));
  CHECK(marked(far + 8192));
  CHECK_FALSE(marked(far + 12'288));
  CHECK(marked(Bed<Queue>::kPacked ? bed.driver.descriptors : bed.driver.device_area));
  bed.log.mark(~uint64_t{0} - 10, 5);  // nowhere
  CHECK_FALSE(bed.log.open(log_file.file(), 0, kLog_size + 1).empty());
}

TEST_CASE("memory that does not fit is refused") {
  GuestMemory memory;
  const GuestRam ram;
  const auto refused = [&](MemoryRegionWire wire) {
    return !memory.add(wire, Fd(::dup(ram.file()))).empty();
  };
  const uint64_t top = ~uint64_t{0} - 4095;
  CHECK(refused({kGuestBase, 0, kUserBase, 0}));
  CHECK(refused({kGuestBase, kGuest_size + 1, kUserBase, 0}));
  CHECK(refused({kGuestBase, kGuest_size, kUserBase, 4096}));
  CHECK(refused({top, 8192, kUserBase, 0}));
  CHECK(refused({kGuestBase, 8192, top, 0}));
  CHECK(refused({kGuestBase, 8192, kUserBase, ~uint64_t{0} - 4095}));
  CHECK_FALSE(refused({kGuestBase, 8192, kUserBase, 4096}));
  CHECK(refused({kGuestBase + 4096, 8192, kUserBase + 65'536, 0}));  // overlaps
  CHECK_FALSE(refused({kGuestBase + 8192, 4096, kUserBase + 65'536, 0}));
  CHECK(memory.translate(kGuestBase, 8192) != nullptr);
  CHECK(memory.translate(kGuestBase, 8193) == nullptr);
  CHECK(memory.translate(kGuestBase + 12'288, 1) == nullptr);
  CHECK(memory.translate(kGuestBase - 1, 1) == nullptr);
  CHECK(memory.translate_user(kUserBase, 4).guest_address == kGuestBase);
  CHECK(memory.remove({kGuestBase, 8192, kUserBase, 0}));
  CHECK_FALSE(memory.remove({kGuestBase, 8192, kUserBase, 0}));
  CHECK(memory.translate(kGuestBase, 1) == nullptr);
}

TEST_CASE("a file that is cut short under us reads as zeros, and is known") {
  GuestMemory memory;
  GuestRam ram;
  REQUIRE(memory.add(ram.region(), Fd(::dup(ram.file()))).empty());
  uint8_t* at = memory.translate(kGuestBase + 4096, 1);
  *at = 7;
  CHECK_FALSE(memory.lost());
  ram.shrink();
  CHECK(*static_cast<volatile uint8_t*>(at) == 0);
  *static_cast<volatile uint8_t*>(at) = 9;
  CHECK(memory.lost());
}

// Rings and descriptors of random bytes, with a bias towards values that are nearly right. Every
// pointer that comes out must lie in the guest's memory, and the pages around the mapping may not
// be touched: GuardedMapping sees to that.
TEST_CASE_TEMPLATE("random rings never lead outside the guest's memory", Queue, SplitQueue,
                   PackedQueue) {
  constexpr uint32_t kSeed = 20'261;
  constexpr int kRounds = 100'000;
  std::mt19937 random(kSeed);
  CAPTURE(kSeed);
  Bed<Queue> bed(16);
  const iovec whole{bed.memory.translate(kGuestBase, kGuest_size), kGuest_size};
  const auto inside = [&](const iovec& part) {
    const auto offset = static_cast<uint64_t>(static_cast<uint8_t*>(part.iov_base) -
                                              static_cast<uint8_t*>(whole.iov_base));
    return offset <= kGuest_size && part.iov_len <= kGuest_size - offset;
  };
  size_t chains = 0;
  size_t breaches = 0;
  bool all_inside = true;
  for (int round = 0; round < kRounds; ++round) {
    for (uint16_t slot = 0; slot < 16; ++slot) {
      const bool wild = random() % 16 == 0;
      const uint64_t address =
          wild ? uint64_t{random()} << 32U | random() : kGuestBase + random() % kGuest_size;
      const auto size = static_cast<uint32_t>(random() % 8 == 0 ? random() : random() % 2048);
      auto flags = static_cast<uint16_t>(random() % 4 == 0 ? random() : random() & 5U);
      if (Bed<Queue>::kPacked) flags = static_cast<uint16_t>(flags | (random() & 0x8080U));
      const auto other = static_cast<uint16_t>(random() % 18);
      const SplitDescriptor split{address, size, flags, other};
      const PackedDescriptor packed{address, size, other, flags};
      std::memcpy(bed.ram.at(bed.driver.descriptors + 16 * slot),
                  Bed<Queue>::kPacked ? static_cast<const void*>(&packed) : &split, 16);
      if (!Bed<Queue>::kPacked) {
        store_release(bed.ram.at(bed.driver.driver_area + 4 + 2 * slot),
                      static_cast<uint16_t>(random() % 17));
      }
    }
    if (!Bed<Queue>::kPacked) {
      store_release(bed.ram.at(bed.driver.driver_area + 2),
                    static_cast<uint16_t>(bed.queue->base() + random() % 18));
    }
    for (int i = 0; i < 16; ++i) {
      const Pop popped = bed.pop();
      if (popped == Pop::kBroken) ++breaches;
      if (popped != Pop::kChain) break;
      ++chains;
      uint64_t sum = 0;
      for (const iovec& part : bed.chain.parts) {
        all_inside = all_inside && inside(part);
        sum += part.iov_len;
      }
      all_inside = all_inside && sum == bed.chain.bytes && sum <= kChainBytes_max;
      bed.queue->push(bed.chain, 0);
    }
    bed.queue->publish();
    bed.queue->wants_call();
    if (random() % 4 == 0) {  // a new ring, as after a breach
      bed.setup.base = static_cast<uint32_t>(random()) & (Bed<Queue>::kPacked ? 0x800f'800fU : ~0U);
      bed.queue.emplace(bed.setup);
    }
  }
  CHECK(all_inside);
  CHECK(chains > 1000);
  CHECK(breaches > 1000);
}
