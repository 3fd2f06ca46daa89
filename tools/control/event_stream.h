#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "netstack/base/clock.h"

namespace tools {

constexpr size_t kEventsKept_count = 4096;  // for readers who come later or read slowly

// What happened in the LAN, as lines of JSON, numbered from 1. Whoever publishes never waits for a
// reader: one that falls behind by more than is kept reads a line that says how many it missed.
class EventStream {
 public:
  explicit EventStream(netstack::Clock& clock) : clock_(clock) {}

  // Adds "number" and "time" (seconds since 1970, with a fraction) to the event.
  void publish(nlohmann::json event);
  void watch(std::function<void()> on_publish) { on_publish_ = std::move(on_publish); }

  uint64_t next_number() const { return first_number_ + lines_.size(); }

  // One reader's place. Copyable; the stream outlives it.
  class Cursor {
   public:
    // From the oldest event kept, or only what comes from now on.
    Cursor(const EventStream& stream, bool from_oldest);
    // Up to `size` bytes of whole or begun lines; 0: nothing new.
    size_t read(char* out, size_t size);

   private:
    bool load();

    const EventStream* stream_;
    uint64_t next_number_;
    std::string line_;  // being handed out
    size_t line_used_ = 0;
  };

 private:
  netstack::Clock& clock_;
  std::function<void()> on_publish_;
  std::deque<std::string> lines_;
  uint64_t first_number_ = 1;  // of lines_.front()
};

}  // namespace tools
