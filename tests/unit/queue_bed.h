#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>

#include "netstack/virtio/packed_queue.h"
#include "netstack/virtio/split_queue.h"
#include "tests/unit/vhost_front_end.h"

namespace queue_bed {

using namespace netstack;

// Both ends of one ring over one guest's memory.
template <class Queue>
struct Bed {
  static constexpr bool kPacked = std::is_same_v<Queue, PackedQueue>;

  explicit Bed(uint16_t count = 8, Direction direction = Direction::kRead, bool events = false,
               uint8_t* in_flight = nullptr)
      : driver(ram, count, kPacked) {
    REQUIRE(memory.add(ram.region(), Fd(::dup(ram.file()))).empty());
    setup.count = count;
    setup.event_index = events;
    setup.direction = direction;
    const auto place = [&](uint64_t guest, size_t size) {
      return memory.translate_user(guest - kGuestBase + kUserBase, size);
    };
    setup.descriptors = place(driver.descriptors, size_t{16} * count);
    setup.driver_area = place(driver.driver_area, Queue::driver_area_size(count));
    setup.device_area = place(driver.device_area, Queue::device_area_size(count));
    setup.base = kPacked ? 0x8000'8000U : 0U;
    setup.memory = &memory;
    setup.log = &log;
    setup.in_flight = in_flight;
    queue.emplace(setup);
  }
  Pop pop() {
    parts.clear();
    return queue->pop(chain, parts);
  }
  std::string text() const {
    std::string all;
    for (const iovec& part : chain.parts) {
      all.append(static_cast<const char*>(part.iov_base), part.iov_len);
    }
    return all;
  }
  Buffer buffer(const std::string& words) {
    return {ram.put({words.begin(), words.end()}), static_cast<uint32_t>(words.size())};
  }
  void give_back(uint32_t size = 0) {
    queue->push(chain, size);
    queue->publish();
  }

  GuestRam ram;
  GuestMemory memory;
  DirtyLog log;
  DriverRing driver;
  RingSetup setup;
  std::optional<Queue> queue;
  ChainParts parts;
  Chain chain;
};

}  // namespace queue_bed
