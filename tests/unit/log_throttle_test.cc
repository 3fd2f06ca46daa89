#include "netstack/base/log_throttle.h"

#include <doctest/doctest.h>

#include <optional>

#include "tests/unit/port_fixture.h"

using namespace netstack;

TEST_CASE("lines held back are counted: by the next one shown, or by the end") {
  MemoryLog log;
  ManualClock clock;
  std::optional<LogThrottle> throttle;
  throttle.emplace(log, clock, "clients of /lan/ctl", 2);
  for (int i = 0; i < 5; ++i) throttle->line("again");
  CHECK(log.lines.size() == 2);
  clock.advance_ns(kThrottleWindow_ns);
  throttle->line("again");
  CHECK(log.lines.back() == "again (3 lines before this one were not shown)");
  throttle->line("again");
  throttle->line("again");
  CHECK(log.lines.size() == 4);
  throttle.reset();
  CHECK(log.lines.back() == "1 more line about clients of /lan/ctl was not shown");
  throttle.emplace(log, clock, "DHCP", 1);
  for (int i = 0; i < 3; ++i) throttle->line("again");
  throttle.reset();
  CHECK(log.lines.back() == "2 more lines about DHCP were not shown");
  CHECK(log.lines.size() == 7);
  throttle.emplace(log, clock, "DHCP", 1);
  for (int i = 0; i < 2; ++i) throttle->line("again");
  clock.advance_ns(kThrottleWindow_ns);
  throttle->line("again");
  CHECK(log.lines.back() == "again (1 line before this one was not shown)");
  throttle.emplace(log, clock, "DHCP");
  throttle->line("once");
  throttle.reset();
  CHECK(log.lines.back() == "once");
}

TEST_CASE("a throttle that others share bounds the sum of their lines, and counts what is hidden") {
  MemoryLog log;
  ManualClock clock;
  {
    LogThrottle all(log, clock, "peers", kThrottleLines_count + 2);
    LogThrottle one(all, "one");
    LogThrottle two(all, "two");
    for (int i = 0; i < 10; ++i) one.line("of one");
    for (int i = 0; i < 10; ++i) two.line("of two");
    CHECK(log.lines.size() == kThrottleLines_count + 2);
    CHECK(log.lines.back() == "of two");
    clock.advance_ns(kThrottleWindow_ns);
    one.line("again");
    CHECK(log.lines.back() == "again (5 lines before this one were not shown)");
    for (int i = 0; i < 10; ++i) all.line("of all");
    CHECK(log.lines.size() == 2 * (kThrottleLines_count + 2));
  }
  // 8 of the second, and 4 of its own.
  CHECK(log.lines.back() == "12 more lines about peers were not shown");
  CHECK(log.lines.size() == 2 * (kThrottleLines_count + 2) + 1);
}
