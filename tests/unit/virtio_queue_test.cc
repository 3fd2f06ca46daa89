#include <doctest/doctest.h>

#include <deque>
#include <random>

#include "netstack/virtio/in_flight.h"
#include "netstack/virtio/packed_queue.h"
#include "netstack/virtio/split_queue.h"
#include "tests/unit/vhost_front_end.h"

using namespace netstack;

namespace {

// Both ends of one ring over one guest's memory.
template <class Queue>
struct Bed {
  static constexpr bool kPacked = std::is_same_v<Queue, PackedQueue>;

  explicit Bed(uint16_t count = 8, Direction direction = Direction::kRead, bool events = false,
               uint8_t* in_flight = nullptr)
      : driver(ram, count, kPacked) {
    REQUIRE(memory.add(ram.region(), Fd(::dup(ram.file()))).empty());
    setup.count = count;
    setup.event_index = events;
    setup.direction = direction;
    const auto place = [&](uint64_t guest, size_t size) {
      return memory.translate_user(guest - kGuestBase + kUserBase, size);
    };
    setup.descriptors = place(driver.descriptors, size_t{16} * count);
    setup.driver_area = place(driver.driver_area, Queue::driver_area_size(count));
    setup.device_area = place(driver.device_area, Queue::device_area_size(count));
    setup.base = kPacked ? 0x8000'8000U : 0U;
    setup.memory = &memory;
    setup.log = &log;
    setup.in_flight = in_flight;
    queue.emplace(setup);
  }
  Pop pop() {
    parts.clear();
    return queue->pop(chain, parts);
  }
  std::string text() const {
    std::string all;
    for (const iovec& part : chain.parts) {
      all.append(static_cast<const char*>(part.iov_base), part.iov_len);
    }
    return all;
  }
  Buffer buffer(const std::string& words) {
    return {ram.put({words.begin(), words.end()}), static_cast<uint32_t>(words.size())};
  }
  void give_back(uint32_t size = 0) {
    queue->push(chain, size);
    queue->publish();
  }

  GuestRam ram;
  GuestMemory memory;
  DirtyLog log;
  DriverRing driver;
  RingSetup setup;
  std::optional<Queue> queue;
  ChainParts parts;
  Chain chain;
};

}  // namespace

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
