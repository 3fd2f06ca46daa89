#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "netstack/frame/frame.h"

namespace netstack {

constexpr size_t kCoalesceFrames_min = 2;       // fewer are no run
constexpr uint32_t kCoalesceFrame_bytes = 256;  // shorter ones are passed on: little is gained
constexpr uint32_t kCoalescePacket_bytes_max = 65'535;  // what an IP length can say
constexpr size_t kCoalesceParts_count = 512;            // pieces of all bodies of one burst

// Makes super-frames of runs of TCP segments (software GRO), for receivers that cut them again or
// never need to.
//
//   segment 1    │ head │ IP  │ TCP  │ payload 1 │
//   segment 2    │ head │ IP  │ TCP  │ payload 2 │      headers: a copy, kept here
//   super-frame  │ head │ IP' │ TCP' │ payload 1 │ payload 2 │      payload: where it was
//
// What comes out, cut again at its payload_bytes, is what went in, bit by bit but for the IPv4
// identifiers of unfragmentable packets (RFC 6864 §4.1 gives them no meaning). Frames keep their
// order. Only segments whose checksum is right, or still to be summed, are joined.
class Coalescer {
 public:
  Coalescer();

  // False: nothing in `burst` can be joined for a receiver that takes `takes`; a glance.
  static bool concerns(std::span<const Frame> burst, OffloadSet takes);

  // The frames to send in place of `burst` (at most kBurstFrames), valid until the next call.
  std::span<const Frame> join(std::span<const Frame> burst, OffloadSet takes);

 private:
  static constexpr size_t kHeaders_size = 160;  // IPv6 and TCP, both at their longest here

  struct Segment {
    uint32_t ip_size = 0;  // of the IP header
    uint32_t header_size = 0;
    uint32_t payload_size = 0;
    uint32_t sequence = 0;
    bool v6 = false;
    bool sum_is_partial = false;
    std::array<uint8_t, kHeaders_size> headers;
  };

  static bool read(const Frame& frame, OffloadSet takes, Segment& segment);
  static bool sum_is_right(const Frame& frame, const Segment& segment);
  static bool follows(const Segment& first, const Segment& next, uint32_t joined,
                      uint32_t joined_payload_size);
  size_t run_length(std::span<const Frame> burst, OffloadSet takes, Segment& first);
  void join_run(std::span<const Frame> run, const Segment& first);
  void add_payload(const Frame& frame, uint32_t skip, uint32_t size);

  std::array<Frame, kBurstFrames> frames_;
  std::array<std::array<uint8_t, kHeaders_size>, kBurstFrames> headers_;
  std::array<iovec, kCoalesceParts_count> parts_;
  size_t count_ = 0;
  size_t part_count_ = 0;
  uint32_t run_payload_size_ = 0;
  bool run_pushes_ = false;  // its last segment has PSH
};

Coalescer& coalescer();  // this thread's

}  // namespace netstack
