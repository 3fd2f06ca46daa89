#include "netstack/port/memory_port.h"

#include <algorithm>
#include <utility>

namespace netstack {

MemoryPort::MemoryPort(std::string name, Keep keep, uint32_t frame_bytes_max)
    : Port(std::move(name), frame_bytes_max), keep_(keep) {}

void MemoryPort::inject(std::span<const std::vector<uint8_t>> frames) noexcept {
  for (const auto& frame : frames) add_to_batch(frame);
  deliver_batch();
}

void MemoryPort::inject(std::span<const uint8_t> frame) noexcept {
  add_to_batch(frame);
  deliver_batch();
}

void MemoryPort::add_to_batch(std::span<const uint8_t> frame) noexcept {
  if (batch_.full()) deliver_batch();
  if (!batch_.add(frame.data(), frame.size())) count_drop(DropReason::kRunt, 1);
}

void MemoryPort::deliver_batch() noexcept {
  deliver(batch_.frames());
  batch_.clear();
}

void MemoryPort::reserve(size_t frames, size_t bytes) {
  ends_.reserve(frames);
  bytes_.reserve(bytes);
}

std::vector<std::vector<uint8_t>> MemoryPort::take() {
  std::vector<std::vector<uint8_t>> frames;
  frames.reserve(ends_.size());
  size_t start = 0;
  for (const size_t end : ends_) {
    frames.emplace_back(bytes_.data() + start, bytes_.data() + end);
    start = end;
  }
  bytes_.clear();
  ends_.clear();
  received_count_ = 0;
  return frames;
}

size_t MemoryPort::transmit(std::span<const Frame> burst) noexcept {
  ++transmit_call_count_;
  const size_t room = capacity_frames_ - std::min(capacity_frames_, received_count_);
  const size_t taken = std::min(burst.size(), room);
  received_count_ += taken;
  if (keep_ == Keep::kFrames) {
    for (const Frame& frame : burst.first(taken)) keep_frame(frame);
  }
  return taken;
}

void MemoryPort::keep_frame(const Frame& frame) {
  const size_t start = bytes_.size();
  bytes_.resize(start + frame.bytes);
  copy_frame(frame, bytes_.data() + start);
  ends_.push_back(bytes_.size());
}

}  // namespace netstack
