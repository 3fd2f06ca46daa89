#include "netstack/loop/signal_watch.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace netstack {
namespace {

constexpr int kNone = 0;

// A child's way to end: the signal it is killed by, or kNone. It is started with nothing ignored,
// however these tests are.
template <typename Life>
int signal_that_ends(Life&& life) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int signal : kEndingSignals) ::signal(signal, SIG_DFL);
    life();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : kNone;
}

TEST_CASE("signals arrive in the loop") {
  const int end = signal_that_ends([] {
    SystemClock clock;
    Loop loop(clock);
    std::vector<int> seen;
    const SignalWatch watch(loop, kEndingSignals, [&](int signal) { seen.push_back(signal); });
    ::kill(::getpid(), SIGTERM);
    ::kill(::getpid(), SIGINT);
    for (int i = 0; i < 3; ++i) loop.tick(0);
    std::sort(seen.begin(), seen.end());
    if (seen != std::vector<int>{SIGINT, SIGTERM}) ::abort();
  });
  CHECK(end == kNone);
}

TEST_CASE("what was ignored stays so, but for SIGTERM") {
  const int end = signal_that_ends([] {
    for (const int signal : kEndingSignals) ::signal(signal, SIG_IGN);
    SystemClock clock;
    Loop loop(clock);
    std::vector<int> seen;
    const SignalWatch watch(loop, kEndingSignals, [&](int signal) { seen.push_back(signal); });
    for (const int signal : kEndingSignals) ::kill(::getpid(), signal);
    for (int i = 0; i < 5; ++i) loop.tick(0);
    if (seen != std::vector<int>{SIGTERM}) ::abort();
  });
  CHECK(end == kNone);
}

TEST_CASE("a program that is ending is not killed on the way") {
  const int end = signal_that_ends([] {
    SystemClock clock;
    Loop loop(clock);
    {
      const SignalWatch watch(loop, kEndingSignals, [](int) {});
    }
    for (const int signal : kEndingSignals) ::kill(::getpid(), signal);
  });
  CHECK(end == kNone);
}

TEST_CASE("a program ends by the signal it was asked by, watched for or not") {
  for (const int signal : kEndingSignals) {
    const int end = signal_that_ends([signal] {
      const rlimit no_core{};
      ::setrlimit(RLIMIT_CORE, &no_core);
      SystemClock clock;
      Loop loop(clock);
      {
        const SignalWatch watch(loop, kEndingSignals, [](int) {});
      }
      end_by_signal(signal);
    });
    CHECK(end == signal);
  }
}

}  // namespace
}  // namespace netstack
