#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "netstack/frame/port.h"

namespace netstack {

// A port whose peer is the program itself, for tests and benchmarks: inject() plays the peer that
// sends, take() the peer that reads.
//
//   inject() ──► deliver() ──► switch ──► transmit() ──► received frames ──► take()
//
// A port that only counts keeps no bytes and never allocates; one that keeps them allocates when
// it outgrows what reserve() asked for.
class MemoryPort final : public Port {
 public:
  enum class Keep : uint8_t { kFrames, kCountOnly };
  static constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

  explicit MemoryPort(std::string name, Keep keep = Keep::kFrames,
                      uint32_t frame_bytes_max = kFrameBytesMax);

  // Deliver frames, in bursts of at most kBurstFrames. Frames shorter than their header are dropped
  // and counted as runts. Frames given as views go in as they are, in one burst.
  void inject(std::span<const std::vector<uint8_t>> frames) noexcept;
  void inject(std::span<const uint8_t> frame) noexcept;
  void inject(std::span<Frame> burst) noexcept { deliver(burst); }

  // Room for frames not yet taken; what comes when there is none is dropped as kQueueFull.
  void set_capacity_frames(size_t frames) { capacity_frames_ = frames; }
  void reserve(size_t frames, size_t bytes);

  size_t received_count() const { return received_count_; }            // since the last take()
  size_t transmit_call_count() const { return transmit_call_count_; }  // ever
  std::vector<std::vector<uint8_t>> take();  // empties the port; oldest frame first

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;

 private:
  void add_to_batch(std::span<const uint8_t> frame) noexcept;
  void deliver_batch() noexcept;
  void keep_frame(const Frame& frame);

  Keep keep_;
  size_t capacity_frames_ = kUnlimited;
  FrameBatch<kBurstFrames> batch_;
  size_t received_count_ = 0;
  size_t transmit_call_count_ = 0;
  std::vector<uint8_t> bytes_;  // the received frames, one after the other
  std::vector<size_t> ends_;    // where each of them ends in bytes_
};

}  // namespace netstack
