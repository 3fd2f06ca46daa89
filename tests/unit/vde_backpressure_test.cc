// How a VDE port holds a sender back for a receiver that reads slowly, and whom it does not.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <initializer_list>

#include "netstack/vde/vde_port.h"
#include "tests/unit/port_fixture.h"

using namespace netstack;

namespace {

constexpr size_t kPlugs_count = 4;
enum : size_t { kA, kB, kC, kD };

// Clients on socket pairs, a clock that stands still, and instead of a switch a sink that looks at
// one byte of the destination: the number of the client.
class Room final : public PortHost, public Sink {
 public:
  Room() : loop(clock), burst_(std::make_shared<DatagramBurst>()) {
    for (size_t at = 0; at < kPlugs_count; ++at) make_plug(at);
  }

  Port* add(std::unique_ptr<Port>) override { return nullptr; }
  void remove(Port& port, std::string_view) override {
    loop.at_end_of_tick([this, id = port.id()] { ports[id].reset(); });
  }
  void receive(PortId, std::span<Frame> frames) noexcept override {
    for (const Frame& frame : frames) {
      if (Port* port = ports[frame.head[5]].get(); port != nullptr) port->send({&frame, 1});
    }
  }

  // As many frames as the client's socket takes; how many those were.
  size_t offer(size_t from, std::initializer_list<size_t> to) {
    Bytes frame = numbered_frame(1514, 0);
    frame[11] = static_cast<uint8_t>(from);
    for (size_t sent = 0;; ++sent) {
      frame[5] = static_cast<uint8_t>(*(to.begin() + sent % to.size()));
      std::memcpy(&frame[14], &number_next_, sizeof number_next_);
      if (::send(clients[from].get(), frame.data(), frame.size(), MSG_DONTWAIT) < 0) return sent;
      ++number_next_;
    }
  }
  // Takes up to `count_max` frames at a client, in order from each sender; how many there were.
  size_t take(size_t at, size_t count_max) {
    std::array<uint8_t, 2000> frame;
    size_t count = 0;
    while (
        count<count_max&& ::recv(clients[at].get(), frame.data(), frame.size(), MSG_DONTWAIT)> 0) {
      uint32_t number = 0;
      std::memcpy(&number, &frame[14], sizeof number);
      uint32_t& number_due = number_due_[at][frame[11]];
      CHECK(number >= number_due);
      number_due = number + 1;
      ++count;
    }
    return count;
  }
  // One millisecond: a turn of the loop in which no time passes, then one in which timers are due.
  void pass_1ms() {
    loop.tick(0);
    clock.advance_ns(kMillisecond_ns);
    loop.tick(0);
  }
  uint64_t read_from(size_t at) const { return ports[at]->counters().ingress_frames; }
  uint64_t sent_to(size_t at) const { return ports[at]->counters().egress_frames; }
  uint64_t dropped_at(size_t at) const {
    return ports[at]->counters().dropped(DropReason::kQueueFull);
  }

  // How long A is held back when it sends to B and B has stopped.
  uint64_t patience_ms() {
    offer(kA, {kB});
    for (int turn = 0; turn < 1000 && loop.next_deadline_ns() == UINT64_MAX; ++turn) {
      offer(kA, {kB});
      loop.tick(0);
    }
    uint64_t elapsed_ms = 0;
    for (; elapsed_ms < 1000 && loop.next_deadline_ns() != UINT64_MAX; ++elapsed_ms) {
      offer(kA, {kB});
      pass_1ms();
    }
    return elapsed_ms;
  }
  // Everything that waits anywhere reaches B.
  void let_b_catch_up() {
    for (int idle = 0; idle < 3; ++idle) {
      if (take(kB, 1'000'000) > 0) idle = 0;
      pass_1ms();
    }
  }

  ManualClock clock;
  Loop loop;
  std::array<std::unique_ptr<VdePort>, kPlugs_count> ports;
  std::array<Fd, kPlugs_count> clients;
  std::array<Fd, kPlugs_count> ctls;

 private:
  static std::array<Fd, 2> make_pair(int type) {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    return {Fd(ends[0]), Fd(ends[1])};
  }
  void make_plug(size_t at) {
    auto ctl = make_pair(SOCK_STREAM);
    auto data = make_pair(SOCK_DGRAM);
    ctls[at] = std::move(ctl[0]);
    clients[at] = std::move(data[0]);
    ports[at] = std::make_unique<VdePort>(loop, *this, burst_,
                                          VdePlug{std::move(ctl[1]), std::move(data[1]), {}},
                                          fmt::format("plug {}", at));
    ports[at]->attach(*this, static_cast<PortId>(at));
  }

  std::shared_ptr<DatagramBurst> burst_;
  std::array<std::array<uint32_t, kPlugs_count>, kPlugs_count>
      number_due_{};  // by receiver, sender
  uint32_t number_next_ = 0;
};

}  // namespace

TEST_CASE("a receiver that reads more slowly than its sender sends loses nothing") {
  for (const size_t pace : {kVdeRestFrames_count * 5 / 4, size_t{50}, size_t{300}}) {
    CAPTURE(pace);  // frames per millisecond
    Room room;
    size_t offered = 0;
    size_t taken = 0;
    for (int ms = 0; ms < 1000; ++ms) {
      for (int turn = 0; turn < 10; ++turn) {
        offered += room.offer(kA, {kB});
        room.loop.tick(0);
      }
      taken += room.take(kB, pace);
      room.pass_1ms();
    }
    CHECK(offered > 1000 * pace);
    CHECK(taken >= 1000 * pace * 9 / 10);  // and is kept busy: room made at once is used at once
    for (size_t more = 1; more > 0;) {
      room.pass_1ms();
      more = room.take(kB, 1'000'000);
      taken += more;
    }
    CHECK(taken == offered);
    CHECK(room.ports[kB]->counters().dropped() == 0);
  }
}

TEST_CASE(
    "a receiver that reads steadily, however slowly, loses nothing that is sent to it alone") {
  for (const size_t pace : {size_t{2}, size_t{5}, size_t{11}}) {
    CAPTURE(pace);  // frames per millisecond
    Room room;
    size_t offered = 0;
    size_t taken = 0;
    for (int ms = 0; ms < 3000; ++ms) {
      offered += room.offer(kA, {kB});
      taken += room.take(kB, pace);
      room.pass_1ms();
    }
    CHECK(taken >= 2999 * pace);  // and is kept busy
    for (size_t more = 1; more > 0;) {
      room.pass_1ms();
      more = room.take(kB, 1'000'000);
      taken += more;
    }
    CHECK(taken == offered);
    CHECK(room.ports[kB]->counters().dropped() == 0);
  }
}

TEST_CASE("a slow reader does not set the pace of what goes to others too") {
  Room room;
  size_t taken = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    room.offer(kA, {kB, kD});
    room.take(kB, 2);
    room.pass_1ms();
    taken += room.take(kD, 1'000'000);
  }
  CHECK(room.dropped_at(kB) > 0);
  CHECK(room.dropped_at(kD) == 0);
  CHECK(taken > 1000 * kVdeRestFrames_count / 2);
}

TEST_CASE("a receiver that takes a frame now and then has stopped") {
  Room room;
  for (int ms = 0; ms < 1000; ++ms) {
    room.offer(kA, {kB});
    if (ms % 10 == 0) room.take(kB, 1);
    room.pass_1ms();
  }
  CHECK(room.dropped_at(kB) > 0);
  const uint64_t read_before = room.read_from(kA);
  for (int turn = 0; turn < 100; ++turn) {  // it holds nobody back any more
    room.offer(kA, {kB});
    room.loop.tick(0);
  }
  CHECK(room.read_from(kA) - read_before == 100 * kBurstFrames);
}

TEST_CASE("a receiver that has stopped is waited for and then dropped for") {
  Room room;
  const uint64_t patience_ms = room.patience_ms();
  CHECK(patience_ms >= kVdePatience_ns / kMillisecond_ns);
  CHECK(patience_ms <= kVdePatience_ns / kMillisecond_ns + 2);

  const uint64_t read_before = room.read_from(kA);
  for (int turn = 0; turn < 100; ++turn) {  // from now on no time has to pass
    room.offer(kA, {kB});
    room.loop.tick(0);
  }
  CHECK(room.read_from(kA) - read_before == 100 * kBurstFrames);
  CHECK(room.dropped_at(kB) > 0);
  CHECK(room.sent_to(kB) + room.dropped_at(kB) == room.read_from(kA));

  size_t taken = 0;
  for (size_t more = 1; more > 0;) {
    more = room.take(kB, 1'000'000);
    taken += more;
    room.pass_1ms();
  }
  CHECK(taken == room.sent_to(kB));
  CHECK(room.sent_to(kB) + room.dropped_at(kB) == room.read_from(kA));
}

TEST_CASE("a sender that rests keeps nobody else waiting") {
  const auto received_by_d = [](bool b_has_stopped) {
    Room room;
    size_t received = 0;
    for (int turn = 0; turn < 300; ++turn) {
      if (b_has_stopped) room.offer(kA, {kB});
      room.offer(kC, {kD});
      room.pass_1ms();
      received += room.take(kD, 1'000'000);
    }
    return received;
  };
  const size_t alone = received_by_d(false);
  CHECK(alone > 0);
  CHECK(received_by_d(true) == alone);
}

TEST_CASE("a sender that rests for one receiver still reaches the others, and is reached") {
  Room room;
  for (int ms = 0; ms < 50; ++ms) {  // the sockets fill up; B does not read
    room.offer(kA, {kB});
    room.pass_1ms();
  }
  REQUIRE(room.loop.next_deadline_ns() != UINT64_MAX);  // A rests
  room.offer(kC, {kA});
  room.loop.tick(0);
  CHECK(room.take(kA, 1'000'000) == kBurstFrames);

  size_t received = 0;
  for (int ms = 0; ms < 100; ++ms) {
    room.offer(kA, {kB, kD});
    room.pass_1ms();
    received += room.take(kD, 1'000'000);
  }
  // At least every other frame of what is read after each rest, less those queued before.
  CHECK(received >= 40 * kVdeRestFrames_count);
}

TEST_CASE("patience halves each time it runs out, and comes back with each time it does not") {
  Room room;
  const uint64_t first_ms = room.patience_ms();
  room.let_b_catch_up();
  const uint64_t second_ms = room.patience_ms();
  room.let_b_catch_up();
  const uint64_t third_ms = room.patience_ms();
  CHECK(second_ms <= first_ms / 2 + 1);
  CHECK(third_ms <= second_ms / 2 + 1);
  CHECK(third_ms > 0);
  room.let_b_catch_up();
  for (int i = 0; i < 10; ++i) {  // late, but in time
    for (int turn = 0; turn < 1000 && room.loop.next_deadline_ns() == UINT64_MAX; ++turn) {
      room.offer(kA, {kB});
      room.loop.tick(0);
    }
    room.let_b_catch_up();
  }
  CHECK(room.patience_ms() >= kVdePatience_ns / kMillisecond_ns);
}

TEST_CASE("whoever leaves while a sender rests takes nothing along") {
  for (const size_t leaving : {kA, kB}) {
    CAPTURE(leaving);
    Room room;
    for (int ms = 0; ms < 50; ++ms) {
      room.offer(kA, {kB});
      room.offer(kC, {kB});
      room.pass_1ms();
    }
    REQUIRE(room.loop.next_deadline_ns() != UINT64_MAX);
    room.ctls[leaving].reset();
    for (int turn = 0; turn < 3; ++turn) room.loop.tick(0);
    REQUIRE_FALSE(room.ports[leaving]);
    for (int turn = 0; turn < 10; ++turn) room.pass_1ms();
    const uint64_t read_before = room.read_from(kC);
    room.offer(kC, {kD});
    room.let_b_catch_up();
    CHECK(room.read_from(kC) > read_before);
    CHECK(room.take(kD, 1'000'000) > 0);
    CHECK(room.loop.next_deadline_ns() == UINT64_MAX);  // nobody rests for ever
  }
}
