#include "netstack/reachability/reason_book.h"

#include <fmt/format.h>

#include <utility>

#include "netstack/base/counted.h"
#include "netstack/reachability/judge.h"
#include "netstack/reachability/reachability.h"

namespace netstack {

ReasonBook::~ReasonBook() {
  loop_.cancel(summary_);
  observer_ = {};
  if (summary_ != 0) summarise();
}

ReasonBook::Key ReasonBook::key_of(const IpAddress& guest, const Target& target, Cause cause) {
  const uint16_t port = cause == Cause::kHopLimit ? uint16_t{0} : target.port;
  return {guest, target.protocol, target.address, port, cause};
}

ReasonBook::Entry& ReasonBook::entry_of(const IpAddress& guest, const Target& target,
                                        const Reason& reason) {
  const Key key = key_of(guest, target, reason.cause);
  const auto found = by_key_.find(key);
  if (found != by_key_.end()) {
    entries_.splice(entries_.end(), entries_, found->second);
    return *found->second;
  }
  if (entries_.size() == kEntriesMax) {
    const Entry& oldest = entries_.front();
    by_key_.erase(key_of(oldest.guest, oldest.target, oldest.reason.cause));
    entries_.pop_front();
  }
  entries_.emplace_back();
  entries_.back().guest = guest;
  entries_.back().target = target;
  entries_.back().first_ns = loop_.clock().wall_ns();
  by_key_.emplace(key, std::prev(entries_.end()));
  return entries_.back();
}

std::string ReasonBook::tell(const IpAddress& guest, const Target& target, const Reason& reason,
                             std::string_view told) {
  Entry& entry = entry_of(guest, target, reason);
  entry.reason = reason;
  entry.icmp = told.empty() ? words_for(reason, guest.v6) : std::nullopt;
  entry.told = told.empty() ? told_to_guest(reason, guest.v6) : std::string(told);
  entry.last_ns = loop_.clock().wall_ns();
  ++entry.count;
  ++counts_[static_cast<size_t>(reason.cause)];
  std::string line = explain_line(guest, target, reason, entry.told);
  if (entry.count == 1) {
    entry.said_count = 1;
    log_.line(line);
    publish(entry);
  } else if (summary_ == 0) {
    summary_ = loop_.after(kSummary_ns, [this] { summarise(); });
  }
  return line;
}

void ReasonBook::summarise() {
  summary_ = 0;
  for (Entry& entry : entries_) {
    if (entry.count == entry.said_count) continue;
    const uint64_t more = entry.count - entry.said_count;
    log_.line(fmt::format("{} → {}: {}: … {}", to_string(entry.guest), to_string(entry.target),
                          cause_row(entry.reason.cause).title, counted(more, "more time")));
    entry.said_count = entry.count;
    publish(entry);
  }
}

void ReasonBook::publish(const Entry& entry) {
  if (!observer_) return;
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  if (now_ns - window_start_ns_ >= kThrottleWindow_ns) {
    window_start_ns_ = now_ns;
    published_count_ = 0;
  }
  if (published_count_ == kEventsMax) {
    ++unheard_count_;
    return;
  }
  ++published_count_;
  observer_(entry, std::exchange(unheard_count_, 0));
}

}  // namespace netstack
