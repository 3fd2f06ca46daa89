#include "netstack/loop/loop.h"

#include <doctest/doctest.h>
#include <sys/eventfd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace netstack;

namespace {

struct Rig {
  ManualClock clock;
  Loop loop{clock};
  std::string story;
  Loop::Handler says(const char* word) {
    return [this, word] { story += word; };
  }
};

Fd readable() {
  return Fd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
}

}  // namespace

TEST_CASE("a tick is: ready descriptors, timers due, end-of-tick work") {
  Rig rig;
  const Fd fd = readable();
  rig.loop.watch(fd.get(), EPOLLIN, [&](uint32_t) {
    rig.story += "ready ";
    rig.loop.after(0, rig.says("timer "));
    rig.loop.at_end_of_tick(rig.says("end "));
  });
  rig.loop.tick(0);
  CHECK(rig.story == "ready timer end ");
  rig.loop.forget(fd.get());
}

TEST_CASE("what a handler leaves comes back next tick, until it is looked at otherwise") {
  Rig rig;
  const Fd fd = readable();
  int calls = 0;
  rig.loop.watch(fd.get(), EPOLLIN, [&](uint32_t) { ++calls; });
  for (int i = 0; i < 3; ++i) rig.loop.tick(0);
  CHECK(calls == 3);
  rig.loop.rewatch(fd.get(), 0);
  rig.loop.tick(0);
  CHECK(calls == 3);
  rig.loop.rewatch(fd.get(), EPOLLIN);
  rig.loop.tick(0);
  CHECK(calls == 4);
  rig.loop.forget(fd.get());
  rig.loop.tick(0);
  CHECK(calls == 4);
}

TEST_CASE("a descriptor forgotten by a handler of the same tick is not called") {
  Rig rig;
  const Fd a = readable();
  const Fd b = readable();
  int calls = 0;
  const auto forget_both = [&](uint32_t) {
    ++calls;
    rig.loop.forget(a.get());
    rig.loop.forget(b.get());
  };
  rig.loop.watch(a.get(), EPOLLIN, forget_both);
  rig.loop.watch(b.get(), EPOLLIN, forget_both);
  rig.loop.tick(0);
  CHECK(calls == 1);
}

TEST_CASE("timers run in the order of their deadlines, when these have come") {
  Rig rig;
  rig.loop.after(2 * kMillisecond_ns, rig.says("c"));
  rig.loop.after(1 * kMillisecond_ns, rig.says("a"));
  rig.loop.after(1 * kMillisecond_ns, rig.says("b"));
  const Loop::TimerId cancelled = rig.loop.after(1 * kMillisecond_ns, rig.says("x"));
  rig.loop.cancel(cancelled);
  rig.loop.cancel(cancelled);
  CHECK(rig.loop.next_deadline_ns() == rig.clock.monotonic_ns() + kMillisecond_ns);
  rig.loop.tick(0);
  CHECK(rig.story.empty());
  rig.clock.advance_ns(kMillisecond_ns);
  rig.loop.tick(0);
  CHECK(rig.story == "ab");
  rig.clock.advance_ns(kMillisecond_ns);
  rig.loop.tick(0);
  CHECK(rig.story == "abc");
  CHECK(rig.loop.next_deadline_ns() == UINT64_MAX);
}

TEST_CASE("a timer may cancel the one behind it, and may set itself again for the next tick") {
  Rig rig;
  Loop::TimerId behind = 0;
  rig.loop.after(0, [&] {
    rig.story += "first ";
    rig.loop.cancel(behind);
    rig.loop.after(0, rig.says("again "));
  });
  behind = rig.loop.after(0, rig.says("never "));
  rig.loop.tick(0);
  CHECK(rig.story == "first ");
  rig.loop.tick(0);
  CHECK(rig.story == "first again ");
}

TEST_CASE("end-of-tick work asked for by end-of-tick work waits for the next tick") {
  Rig rig;
  rig.loop.at_end_of_tick([&] {
    rig.story += "one ";
    rig.loop.at_end_of_tick(rig.says("two "));
  });
  rig.loop.tick(0);
  CHECK(rig.story == "one ");
  rig.loop.tick(-1);  // does not wait: there is work
  CHECK(rig.story == "one two ");
}

TEST_CASE("a busy descriptor is called in every tick, ready or not, until it is busy no more") {
  Rig rig;
  const Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  int calls = 0;
  rig.loop.watch(fd.get(), EPOLLIN, [&](uint32_t events) {
    CHECK(events == EPOLLIN);
    ++calls;
  });
  rig.loop.tick(0);
  CHECK(calls == 0);
  rig.loop.set_busy(fd.get(), true);
  for (int i = 0; i < 3; ++i) rig.loop.tick(-1);  // does not sleep
  CHECK(calls == 3);

  SUBCASE("it may pause") {
    rig.loop.rewatch(fd.get(), 0);
    rig.loop.tick(0);
    CHECK(calls == 3);
    rig.loop.rewatch(fd.get(), EPOLLIN);
    rig.loop.tick(-1);
    CHECK(calls == 4);
  }
  SUBCASE("then the kernel is asked again") {
    rig.loop.set_busy(fd.get(), false);
    rig.loop.tick(0);
    CHECK(calls == 3);
    REQUIRE(::eventfd_write(fd.get(), 1) == 0);
    rig.loop.tick(0);
    CHECK(calls == 4);
  }
  rig.loop.forget(fd.get());
  rig.loop.tick(0);
  CHECK(calls <= 4);
}

TEST_CASE("a busy descriptor hears from the kernel that it can be written to") {
  Rig rig;
  const Fd fd = readable();
  rig.loop.watch(fd.get(), EPOLLIN | EPOLLOUT,
                 [&](uint32_t events) { rig.story += (events & EPOLLOUT) != 0 ? "out " : "in "; });
  rig.loop.set_busy(fd.get(), true);
  rig.loop.tick(0);
  CHECK(rig.story == "in out ");
  rig.loop.forget(fd.get());
}

namespace {

// Whether any epoll descriptor of this process waits for `fd` (proc(5), fdinfo).
bool epoll_knows(int fd) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream info(entry.path());
    std::string word;
    int number = -1;
    while (info >> word) {
      if (word == "tfd:" && info >> number && number == fd) return true;
    }
  }
  return false;
}

}  // namespace

TEST_CASE("what is waited for by poll is heard like any other, and epoll does not know it") {
  Rig rig;
  const Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  uint32_t heard = 0;
  rig.loop.watch(fd.get(), EPOLLIN, [&](uint32_t events) {
    heard |= events;
    eventfd_t value = 0;
    ::eventfd_read(fd.get(), &value);
  });
  REQUIRE(epoll_knows(fd.get()));
  rig.loop.wait_by_poll(fd.get());
  CHECK_FALSE(epoll_knows(fd.get()));
  rig.loop.tick(0);
  CHECK(heard == 0);
  REQUIRE(::eventfd_write(fd.get(), 1) == 0);
  rig.loop.tick(-1);
  CHECK(heard == EPOLLIN);

  SUBCASE("beside one that epoll knows") {
    const Fd other = readable();
    rig.loop.watch(other.get(), EPOLLIN, [&](uint32_t) { rig.story += "other "; });
    rig.loop.tick(-1);
    CHECK(rig.story == "other ");
    rig.loop.forget(other.get());
  }
  SUBCASE("with other events") {
    rig.loop.rewatch(fd.get(), EPOLLOUT);
    CHECK_FALSE(epoll_knows(fd.get()));
    rig.loop.tick(-1);
    CHECK(heard == (EPOLLIN | EPOLLOUT));
  }
  SUBCASE("until it has been quiet for many turns") {
    for (unsigned turn = 0; turn < 2 * Loop::kPolledTurns_count; ++turn) rig.loop.tick(0);
    CHECK(epoll_knows(fd.get()));
    heard = 0;
    REQUIRE(::eventfd_write(fd.get(), 1) == 0);
    rig.loop.tick(-1);
    CHECK(heard == EPOLLIN);
  }
  SUBCASE("as long as it is heard now and then") {
    for (unsigned turn = 0; turn < 4 * Loop::kPolledTurns_count; ++turn) {
      if (turn % 500 == 0) REQUIRE(::eventfd_write(fd.get(), 1) == 0);
      rig.loop.tick(0);
    }
    CHECK_FALSE(epoll_knows(fd.get()));
  }
  SUBCASE("and while it is busy it is called unasked") {
    rig.loop.set_busy(fd.get(), true);
    heard = 0;
    rig.loop.tick(-1);
    CHECK(heard == EPOLLIN);
    rig.loop.set_busy(fd.get(), false);
    CHECK_FALSE(epoll_knows(fd.get()));
  }
  rig.loop.forget(fd.get());
}

TEST_CASE("as many as there is room for are polled, the others are heard all the same") {
  Rig rig;
  std::vector<Fd> fds;
  size_t calls = 0, known = 0;
  for (size_t i = 0; i < 2 * Loop::kPolled_count; ++i) {
    fds.push_back(readable());
    rig.loop.watch(fds.back().get(), EPOLLIN, [&](uint32_t) { ++calls; });
    rig.loop.wait_by_poll(fds.back().get());
    known += epoll_knows(fds.back().get()) ? 1 : 0;
  }
  CHECK(known == Loop::kPolled_count);
  rig.loop.tick(-1);
  CHECK(calls == fds.size());
  rig.loop.forget(fds.front().get());  // makes room
  rig.loop.wait_by_poll(fds.back().get());
  CHECK_FALSE(epoll_knows(fds.back().get()));
  for (size_t i = 1; i < fds.size(); ++i) rig.loop.forget(fds[i].get());
}

TEST_CASE("handlers of busy and of polled descriptors may end each other, and themselves") {
  for (const bool busy : {true, false}) {
    CAPTURE(busy);
    Rig rig;
    const Fd a = readable();
    const Fd b = readable();
    const auto forget_both = [&](uint32_t) {
      rig.story += "called ";
      rig.loop.forget(a.get());
      rig.loop.forget(b.get());
    };
    for (const Fd* fd : {&a, &b}) {
      rig.loop.watch(fd->get(), EPOLLIN, forget_both);
      busy ? rig.loop.set_busy(fd->get(), true) : rig.loop.wait_by_poll(fd->get());
    }
    rig.loop.tick(-1);
    rig.loop.tick(0);
    CHECK(rig.story == "called ");
  }
}
