#pragma once

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "netstack/frame/finish.h"
#include "netstack/gateway/gateway.h"
#include "tests/packets/packets.h"
#include "tests/unit/private_network.h"

// What the gateway's tests share: a guest played by the test, in a namespace of its own.
namespace tests {

using namespace netstack;
using packets::Builder;
using packets::Bytes;

inline constexpr auto kGuest = "52:54:00:00:00:01";
inline constexpr auto kGatewayMac = "52:55:0a:00:02:02";
inline constexpr auto kGatewayMac6 = "52:56:00:00:00:02";

struct TestLog final : Log {
  std::vector<std::string> lines;
  void line(std::string_view text) override { lines.emplace_back(text); }
};

// A guest that takes no super-frames: gets them cut, as a port would.
struct Collect final : Sink {
  std::vector<Bytes> frames;
  uint64_t super_frames_count = 0;
  void receive(PortId, std::span<Frame> burst) noexcept override {
    for (const Frame& frame : burst) {
      if (!FrameFinisher::concerns(frame, 0)) {
        add(frame);
        continue;
      }
      ++super_frames_count;
      CHECK_FALSE(finisher.begin(frame, 0));
      for (auto run = finisher.next(); !run.empty(); run = finisher.next()) {
        for (const Frame& segment : run) add(segment);
      }
    }
  }
  void add(const Frame& frame) {
    Bytes bytes(frame.bytes);
    copy_frame(frame, bytes.data());
    frames.push_back(std::move(bytes));
  }
  FrameFinisher& finisher = frame_finisher();
};

// A gateway in a namespace that holds nothing but "lo".
struct Bed {
  Bed() {
    gateway.attach(guest, 1);
    // libslirp answers only whom it has heard of.
    send(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request("10.0.2.15", "10.0.2.2"));
    guest.frames.clear();
  }

  void send(const Builder& builder) { send(builder.build()); }
  void send(const Bytes& bytes) {
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
    gateway.send({&frame, 1});
    run();
  }
  void run(int ticks = 4) {
    for (int i = 0; i < ticks; ++i) loop.tick(2 * kMillisecond_ns);
  }
  uint64_t dropped(DropReason reason) const { return gateway.counters().dropped(reason); }
  std::vector<Bytes> take() { return std::exchange(guest.frames, {}); }
  packets::Parsed only() {
    INFO(packets::describe(guest.frames));
    REQUIRE(guest.frames.size() == 1);
    return packets::parse_frame(guest.frames[0]);
  }

  SystemClock clock;
  Loop loop{clock};
  TestLog log;
  Gateway gateway{loop, {}, log};
  Collect guest;
};

struct PrivateNetwork {
  PrivateNetwork() { tests::enter_private_network(); }
};

inline Bed make_bed() {
  static const PrivateNetwork once;
  return Bed();
}

}  // namespace tests
