#include <unistd.h>

#include "tests/unit/vhost_guest.h"

using namespace vhost_bed;

namespace {

constexpr uint64_t kStep_ns = 1'000;  // from tick to tick
constexpr uint64_t kSoon_ns = 2'000;  // from falling asleep to the next kick
constexpr int kNever = -1;

// A guest that waits, sends one frame and kicks, whereupon the poller works it off, polls and
// sleeps. Another frame comes, without a kick, in the `second`th tick.
struct Bed {
  void round(uint64_t wait_ns, int second = kNever) {
    clock.advance_ns(wait_ns);
    guest.send(numbered_frame(60, 1));
    const uint64_t one = 1;
    REQUIRE(::write(guest.kicks[1].get(), &one, sizeof one) == sizeof one);
    for (int tick = 0; tick < 1000; ++tick) {
      guest.loop.tick(0);
      while (guest.rings[1]->get_used()) {
      }
      if (!guest.port->awake()) return;
      clock.advance_ns(kStep_ns);
      if (tick == second) guest.send(numbered_frame(60, 2));
    }
    FAIL("it never slept");
  }
  uint64_t window_ns() const { return guest.poller.window_ns(); }

  ManualClock clock;
  Guest guest{kPlain, 1, 64, &clock};
};

}  // namespace

TEST_CASE("the window grows while kicks come soon, and shrinks when they do not") {
  Bed bed;
  bed.round(kSecond_ns);
  CHECK(bed.window_ns() == 0);
  bed.round(kSoon_ns);
  CHECK(bed.window_ns() == kPollWindow_ns_first);
  bed.round(kSoon_ns);
  CHECK(bed.window_ns() == 2 * kPollWindow_ns_first);
  bed.round(kSecond_ns);
  bed.round(kSecond_ns);
  CHECK(bed.window_ns() == 0);
}

TEST_CASE("polling that never meets a frame stops, and is tried again later") {
  Bed bed;
  bed.round(kSecond_ns);
  for (unsigned i = 0; i < kFruitlessWindows_count; ++i) {
    bed.round(kSoon_ns);
    REQUIRE((bed.window_ns() == 0) == (i + 1 == kFruitlessWindows_count));
  }
  for (unsigned i = 0; i < kUnpolledSleeps_count; ++i) {
    bed.round(kSoon_ns);
    REQUIRE(bed.window_ns() == 0);
  }
  bed.round(kSoon_ns);
  CHECK(bed.window_ns() == kPollWindow_ns_first);
}

TEST_CASE("polling that meets a frame now and then goes on") {
  Bed bed;
  for (unsigned i = 0; i < 10 * kFruitlessWindows_count; ++i) {
    bed.round(kSoon_ns, i % 4 == 0 ? 2 : kNever);
  }
  CHECK(bed.window_ns() == kPollWindow_ns_max);
}
