#include "netstack/loop/signal_watch.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace netstack {
namespace {

TEST_CASE("signals arrive in the loop, and not after it") {
  SystemClock clock;
  Loop loop(clock);
  std::vector<int> seen;
  {
    const SignalWatch watch(loop, kEndingSignals, [&](int signal) { seen.push_back(signal); });
    ::kill(::getpid(), SIGTERM);
    ::kill(::getpid(), SIGINT);
    for (int i = 0; i < 3; ++i) loop.tick(0);
    ::kill(::getpid(), SIGHUP);  // too late: discarded, or this test would die of it
  }
  std::sort(seen.begin(), seen.end());
  CHECK(seen == std::vector<int>{SIGINT, SIGTERM});
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
  for (const int signal : kEndingSignals) CHECK(::sigismember(&now, signal) == 0);
}

}  // namespace
}  // namespace netstack
