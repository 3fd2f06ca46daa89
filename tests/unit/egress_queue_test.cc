#include "netstack/port/egress_queue.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <array>
#include <deque>
#include <random>

#include "tests/unit/port_fixture.h"

using namespace netstack;

namespace {

constexpr size_t kSmallest_size = kQueuedLength_size + kFrameBytesMax;

Bytes framed(const Bytes& frame) {
  const auto size = static_cast<uint32_t>(frame.size());
  Bytes bytes{static_cast<uint8_t>(size >> 24U), static_cast<uint8_t>(size >> 16U),
              static_cast<uint8_t>(size >> 8U), static_cast<uint8_t>(size)};
  bytes.insert(bytes.end(), frame.begin(), frame.end());
  return bytes;
}

Bytes peek_all(const EgressQueue& queue) {
  std::array<iovec, 2> pieces;
  Bytes bytes;
  const size_t count = queue.peek_bytes(pieces);
  for (size_t i = 0; i < count; ++i) {
    const auto* start = static_cast<const uint8_t*>(pieces[i].iov_base);
    bytes.insert(bytes.end(), start, start + pieces[i].iov_len);
  }
  return bytes;
}

size_t any_size(std::mt19937& random) {
  // Mostly ordinary frames, now and then a giant one, so that the unused end varies.
  if (random() % 50 == 0) return kFrameBytesMax - random() % 1000;
  return 14 + random() % 3000;
}

}  // namespace

TEST_CASE("an empty queue has nothing to show") {
  EgressBudget budget;
  EgressQueue queue(budget);
  std::array<iovec, 2> pieces;
  std::array<iovec, 4> frames;
  CHECK(queue.empty());
  CHECK(queue.peek_bytes(pieces) == 0);
  CHECK(queue.peek_frames(frames) == 0);
}

TEST_CASE("a burst is taken from its front until one frame does not fit") {
  EgressBudget budget;
  EgressQueue queue(budget, kSmallest_size);
  const Bytes bytes = numbered_frame(9'996, 1);  // 10,000 with its length: six fit
  FrameBatch<kBurstFrames> batch;
  for (int i = 0; i < 10; ++i) batch.add(bytes.data(), bytes.size());
  CHECK(queue.push(batch.frames()) == 6);
  CHECK(queue.frame_count() == 6);
  CHECK(queue.frame_bytes() == 6 * 9'996);
  CHECK(queue.push(FrameView(bytes).burst()) == 0);
  queue.pop_frames(1);
  CHECK(queue.push(FrameView(bytes).burst()) == 1);
}

TEST_CASE("the largest frame fits the smallest queue") {
  EgressBudget budget;
  EgressQueue queue(budget, kSmallest_size);
  const Bytes bytes = numbered_frame(kFrameBytesMax, 1);
  CHECK(queue.push(FrameView(bytes).burst()) == 1);
  CHECK(peek_all(queue) == framed(bytes));
}

TEST_CASE("a frame cut by a short write continues where it stopped") {
  const Bytes first = numbered_frame(60, 1);
  const Bytes second = numbered_frame(1514, 2);
  Bytes stream = framed(first);
  const Bytes rest = framed(second);
  stream.insert(stream.end(), rest.begin(), rest.end());
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EgressBudget budget;
    EgressQueue queue(budget, kSmallest_size);
    CHECK(queue.push(FrameView(first).burst()) == 1);
    CHECK(queue.push(FrameView(second).burst()) == 1);
    queue.consume(cut);
    CHECK(peek_all(queue) == Bytes(stream.begin() + static_cast<ptrdiff_t>(cut), stream.end()));
    CHECK(queue.frame_count() == (cut < 64 ? 2 : cut < stream.size() ? 1 : 0));
  }
}

TEST_CASE("as a stream: bytes come out as they went in, for any sizes and any wrap") {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    EgressBudget budget;
    EgressQueue queue(budget, 100'000);
    Bytes expected;
    size_t refused = 0;
    for (uint32_t step = 0; step < 1000; ++step) {
      const Bytes frame = numbered_frame(any_size(random), step);
      if (queue.push(FrameView(frame).burst()) == 1) {
        const Bytes bytes = framed(frame);
        expected.insert(expected.end(), bytes.begin(), bytes.end());
      } else {
        ++refused;
      }
      REQUIRE(peek_all(queue) == expected);
      if (random() % 20 == 0 && !expected.empty()) {
        const size_t size = random() % (expected.size() + 1);
        queue.consume(size);
        expected.erase(expected.begin(), expected.begin() + static_cast<ptrdiff_t>(size));
      }
    }
    CHECK(refused > 0);  // the limit was met
  }
}

TEST_CASE("as datagrams: frames come out as they went in, for any sizes and any wrap") {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    EgressBudget budget;
    EgressQueue queue(budget, 100'000);
    std::deque<Bytes> expected;
    size_t refused = 0;
    for (uint32_t step = 0; step < 1000; ++step) {
      const Bytes frame = numbered_frame(any_size(random), step);
      if (queue.push(FrameView(frame).burst()) == 1) {
        expected.push_back(frame);
      } else {
        ++refused;
      }
      std::array<iovec, 8> frames;
      const size_t count = queue.peek_frames(frames);
      REQUIRE(count == std::min<size_t>(8, expected.size()));
      for (size_t i = 0; i < count; ++i) {
        const auto* start = static_cast<const uint8_t*>(frames[i].iov_base);
        REQUIRE(Bytes(start, start + frames[i].iov_len) == expected[i]);
      }
      if (random() % 6 != 0) continue;
      const size_t taken = random() % (count + 1);
      queue.pop_frames(taken);
      expected.erase(expected.begin(), expected.begin() + static_cast<ptrdiff_t>(taken));
      REQUIRE(queue.frame_count() == expected.size());
    }
    CHECK(refused > 0);  // the limit was met
  }
}

TEST_CASE("what waits for a receiver that has gone becomes drops") {
  EgressBudget budget;
  EgressQueue queue(budget, kSmallest_size);
  const Bytes bytes = numbered_frame(100, 1);
  for (int i = 0; i < 3; ++i) CHECK(queue.push(FrameView(bytes).burst()) == 1);
  PortCounters counters;
  counters.egress_frames = 10;
  counters.egress_bytes = 1000;
  queue.consume(50);  // half of the first is out: it did not arrive as a frame
  queue.abandon(counters);
  CHECK(counters.egress_frames == 7);
  CHECK(counters.egress_bytes == 700);
  CHECK(counters.dropped(DropReason::kPeerGone) == 3);
  CHECK(queue.empty());
  CHECK(queue.push(FrameView(bytes).burst()) == 1);
  CHECK(peek_all(queue) == framed(bytes));
}

TEST_CASE("queues share a budget: when it is used up each holds what it has, or its first part") {
  EgressBudget budget(1'000'000);
  const Bytes bytes = numbered_frame(1514, 1);
  const auto fill = [&](EgressQueue& queue) {
    while (queue.push(FrameView(bytes).burst()) == 1) {
    }
    return queue.frame_bytes();
  };
  {
    EgressQueue deep(budget);
    CHECK(fill(deep) > kEgressQueueKeep_size + 990'000 - 1514);
    CHECK(fill(deep) < kEgressQueueKeep_size + 1'000'000);
    EgressQueue late(budget);
    EgressQueue later(budget);
    for (EgressQueue* queue : {&late, &later}) {
      CHECK(fill(*queue) > kEgressQueueKeep_size - 2 * 1514);
      CHECK(fill(*queue) < kEgressQueueKeep_size + 1514);
    }
    CHECK(budget.used_size() <= 1'000'000);

    // What is taken out makes room in the same place, again and again.
    for (int round = 0; round < 1000; ++round) {
      late.pop_frames(1);
      CHECK(late.push(FrameView(bytes).burst()) == 1);
    }
    deep.pop_frames(deep.frame_count());
    CHECK(budget.used_size() < 2 * 1514);
    CHECK(fill(later) > kEgressQueueKeep_size + 990'000 - 1514);
  }
  CHECK(budget.used_size() == 0);
}

TEST_CASE("a queue that was deep gives its memory back when it has run empty") {
  const auto is_resident = [](const void* at) {
    const auto page_size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto page = reinterpret_cast<uintptr_t>(at) / page_size * page_size;
    unsigned char resident = 0;
    REQUIRE(::mincore(reinterpret_cast<void*>(page), 1, &resident) == 0);
    return (resident & 1U) != 0;
  };
  EgressBudget budget;
  EgressQueue queue(budget);
  const Bytes bytes = numbered_frame(1514, 1);
  for (int round = 0; round < 3; ++round) {
    while (queue.push(FrameView(bytes).burst()) == 1) {
    }
    std::vector<iovec> frames(queue.frame_count());
    REQUIRE(queue.peek_frames(frames) == frames.size());
    const void* first = frames.front().iov_base;
    const void* last = frames.back().iov_base;
    CHECK(is_resident(first));
    CHECK(is_resident(last));
    if (round == 2) {
      PortCounters counters;
      counters.egress_frames = frames.size();
      counters.egress_bytes = queue.frame_bytes();
      queue.abandon(counters);
    } else {
      queue.pop_frames(frames.size());
    }
    CHECK(is_resident(first));
    CHECK_FALSE(is_resident(last));
  }
}
