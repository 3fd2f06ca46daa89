#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/clock.h"

namespace tools {

constexpr size_t kEventsKept_count = 4096;  // for readers who come later or read slowly
// Of one kind. A guest can cause some kinds at will, and must not drive out what others did.
constexpr uint32_t kEventsOfKind_count = 256;  // in kEventWindow_ns; more are counted only
constexpr uint64_t kEventWindow_ns = netstack::kSecond_ns;

// What happened in the LAN, as lines of JSON, numbered from 1. Whoever publishes never waits for a
// reader: one that falls behind by more than is kept reads a line that says how many it missed.
class EventStream {
 public:
  explicit EventStream(netstack::Clock& clock) : clock_(clock) {}

  // `event` has its kind as "event". Adds "number" and "time" (seconds since 1970, with a
  // fraction). What is more than kEventsOfKind_count is told as one line later on:
  // {"event": "suppressed", "kind": …, "count": …}.
  void publish(nlohmann::json event);
  void watch(std::function<void()> on_publish) { on_publish_ = std::move(on_publish); }

  uint64_t next_number() const { return first_number_ + lines_.size(); }
  uint64_t suppressed_count() const { return suppressed_count_; }

  // One reader's place. Copyable; the stream outlives it.
  class Cursor {
   public:
    // From the oldest event kept, or only what comes from now on. `kinds`: "lease-given" is that
    // one, "lease" is every lease-…; empty: all.
    Cursor(const EventStream& stream, bool from_oldest, std::vector<std::string> kinds = {});
    // Up to `size` bytes of whole or begun lines; 0: nothing new.
    size_t read(char* out, size_t size);

   private:
    bool load();
    bool wants(std::string_view kind) const;

    const EventStream* stream_;
    std::vector<std::string> kinds_;
    uint64_t next_number_;
    std::string line_;  // being handed out
    size_t line_used_ = 0;
  };

 private:
  struct Line {
    std::string kind;
    std::string text;
  };
  struct Window {
    uint64_t begun_ns = 0;
    uint32_t count = 0;
    uint64_t suppressed_count = 0;
  };

  bool admit(const std::string& kind);
  void tell_suppressed(uint64_t now_ns);
  void append(const std::string& kind, nlohmann::json event);

  netstack::Clock& clock_;
  std::function<void()> on_publish_;
  std::deque<Line> lines_;
  std::map<std::string, Window> windows_;  // by kind: as many as the program has
  uint64_t first_number_ = 1;              // of lines_.front()
  uint64_t suppressed_count_ = 0;
};

}  // namespace tools
