#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "netstack/base/log.h"
#include "netstack/base/log_throttle.h"
#include "netstack/loop/loop.h"
#include "netstack/reachability/reason.h"

namespace netstack {

// The gateway's memory of reasons. Each flow and cause is one entry: the log tells of it once, and
// later how often it came again; GET /reasons lists the entries; an observer hears what the log
// tells. A flow is (guest, protocol, address, port); for a used-up hop limit the port is left out,
// since a traceroute changes it with each packet.
//
// A guest can cause entries at will, so all is bounded: entries (the one told of longest ago makes
// room), lines of the log, and calls of the observer.
class ReasonBook {
 public:
  static constexpr size_t kEntriesMax = 1024;
  static constexpr uint32_t kLinesMax = 20;                 // in kThrottleWindow_ns
  static constexpr uint32_t kEventsMax = 200;               // in kThrottleWindow_ns
  static constexpr uint64_t kSummary_ns = 30 * kSecond_ns;  // after a repetition, at most

  struct Entry {
    IpAddress guest;
    Target target;
    Reason reason;                  // as found the last time
    std::optional<IcmpWords> icmp;  // what the guest got, if it was an ICMP error
    std::string told;               // in ping's words, or "SERVFAIL", "nothing", …
    uint64_t count = 0;             // how often
    uint64_t said_count = 0;        // of these, how often when the log told of it last
    uint64_t first_ns = 0;          // Clock::wall_ns
    uint64_t last_ns = 0;
  };
  // `unheard_count`: calls left out before this one, beyond kEventsMax.
  using Observer = std::function<void(const Entry&, uint64_t unheard_count)>;

  ReasonBook(Loop& loop, Log& log)
      : loop_(loop), log_(log, loop.clock(), "what is out of reach", kLinesMax) {}
  ~ReasonBook();  // says what is still to be summed up
  ReasonBook(const ReasonBook&) = delete;
  ReasonBook& operator=(const ReasonBook&) = delete;

  // Returns the line, said this time or not: the note of the frame that tells the guest. `told` is
  // what the guest gets where that is not the reason's own ICMP error.
  std::string tell(const IpAddress& guest, const Target& target, const Reason& reason,
                   std::string_view told = {});

  // Called in the loop's thread for each new entry, and again when the log says that it was
  // repeated. One at a time; an empty one ends it.
  void observe(Observer observer) { observer_ = std::move(observer); }

  const std::list<Entry>& entries() const { return entries_; }  // told of longest ago first
  uint64_t count(Cause cause) const { return counts_[static_cast<size_t>(cause)]; }

 private:
  using Key = std::tuple<IpAddress, Protocol, IpAddress, uint16_t, Cause>;
  using Entries = std::list<Entry>;

  Entry& entry_of(const IpAddress& guest, const Target& target, const Reason& reason);
  static Key key_of(const IpAddress& guest, const Target& target, Cause cause);
  void publish(const Entry& entry);
  void summarise();

  Loop& loop_;
  LogThrottle log_;
  Observer observer_;
  Entries entries_;
  std::map<Key, Entries::iterator> by_key_;
  std::array<uint64_t, kCauseCount> counts_{};
  Loop::TimerId summary_ = 0;
  uint64_t window_start_ns_ = 0;  // of kEventsMax
  uint32_t published_count_ = 0;
  uint64_t unheard_count_ = 0;
};

}  // namespace netstack
