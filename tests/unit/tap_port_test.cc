#include "netstack/port/tap_port.h"

#include <doctest/doctest.h>

#include "netstack/base/error.h"
#include "tests/unit/link_fixture.h"

using namespace netstack;

namespace {

struct Tap {
  explicit Tap(bool up = true) {
    enter_quiet_network();
    port = static_cast<TapPort*>(host.add(open_tap(loop, host, "tap7")));
    if (!up) return;
    ip("link set tap7 up");
    kernel = std::make_unique<RawLink>("tap7");
  }
  ~Tap() {
    for (auto& owned : host.ports) owned->detach();
    host.ports.clear();
  }

  SystemClock clock;
  Loop loop{clock};
  TestHost host{loop};
  std::unique_ptr<RawLink> kernel;
  TapPort* port = nullptr;
};

std::string refusal(const std::string& name) {
  SystemClock clock;
  Loop loop(clock);
  TestHost host(loop);
  try {
    open_tap(loop, host, name);
  } catch (const Error& error) {
    return error.what();
  }
  return "opened";
}

}  // namespace

TEST_CASE("frames pass both ways, whole and in order") {
  Tap tap;
  std::vector<Bytes> sent;
  for (uint32_t i = 0; i < 150; ++i) sent.push_back(numbered_frame(60 + i * 9 % 1400, i));
  for (const Bytes& frame : sent) REQUIRE(tap.kernel->send(frame));
  REQUIRE(tick_until(tap.loop, [&] { return tap.host.received.size() == sent.size(); }));
  CHECK(tap.host.received == sent);
  CHECK(tap.host.largest_burst == kBurstFrames);

  send_all(*tap.port, sent);
  CHECK(tap.kernel->receive_all() == sent);
  CHECK(tap.port->counters().egress_frames == sent.size());
  CHECK(tap.port->counters().dropped() == 0);
}

TEST_CASE("an interface that is down takes nothing, and the port lives on") {
  Tap tap(false);
  send_all(*tap.port, {numbered_frame(60, 1), numbered_frame(60, 2)});
  CHECK(tap.port->counters().egress_frames == 0);
  CHECK(tap.port->counters().egress_bytes == 0);
  CHECK(tap.port->counters().dropped(DropReason::kPeerGone) == 2);
  ip("link set tap7 up");
  const RawLink kernel("tap7");
  send_all(*tap.port, {numbered_frame(60, 3)});
  CHECK(tap.port->counters().egress_frames == 1);
  CHECK(tap.host.ports.size() == 1);
}

TEST_CASE("the port ends when its interface is deleted; an interface we made goes with the port") {
  {
    Tap tap;
    ip("link del tap7");
    REQUIRE(tick_until(tap.loop, [&] { return tap.host.ports.empty(); }));
    CHECK(tap.host.reasons == std::vector<std::string>{"the interface was removed"});
  }
  {
    Tap tap;
    CHECK(::if_nametoindex("tap7") != 0);
  }
  CHECK(::if_nametoindex("tap7") == 0);
}

TEST_CASE("an interface made for us is used and stays") {
  enter_quiet_network();
  ip("tuntap add kept mode tap");
  CHECK(refusal("kept") == "opened");
  CHECK(::if_nametoindex("kept") != 0);
  ip("link del kept");
}

TEST_CASE("the kernel may choose the name") {
  enter_quiet_network();
  SystemClock clock;
  Loop loop(clock);
  TestHost host(loop);
  CHECK(open_tap(loop, host, "")->interface() == "tap0");
  CHECK(open_tap(loop, host, "lan%d")->interface() == "lan0");
  CHECK(probe_tap_device() == 0);
}

TEST_CASE("what cannot be a tap is refused in one line") {
  const Tap busy;
  CHECK(refusal("tap7").find("another program has it open") != std::string::npos);
  ip("link add pair type veth peer name pair2");
  CHECK(refusal("pair").find("is no plain tap interface") != std::string::npos);
  ip("link del pair");
  CHECK(refusal("sixteen-letters-").find("1 to 15 characters") != std::string::npos);
}
