#include "netstack/names/address_probe.h"

#include <algorithm>
#include <utility>

namespace netstack {

AddressProbe::~AddressProbe() {
  for (const Pending& pending : pending_) loop_.cancel(pending.timer);
}

bool AddressProbe::begin(Question question) {
  const auto known = std::ranges::find_if(
      pending_, [&](const Pending& other) { return other.question.asker == question.asker; });
  if (known != pending_.end() && known->question.address == question.address) {
    question.tries = known->question.tries;
    known->question = std::move(question);
    return true;
  }
  if (known != pending_.end()) {
    loop_.cancel(known->timer);
    pending_.erase(known);
  }
  if (pending_.size() >= kPendingMax) return false;
  pending_.push_back({std::move(question), 0});
  const auto at = std::prev(pending_.end());
  at->timer = loop_.after(kWait_ns, [this, at] { end(at, std::nullopt); });
  handler_.ask(at->question.address);
  return true;
}

void AddressProbe::hear(const IpAddress& address, const Mac& mac) {
  const auto at = std::ranges::find_if(
      pending_, [&](const Pending& pending) { return pending.question.address == address; });
  if (at == pending_.end()) return;
  end(at, mac == at->question.asker ? std::nullopt : std::optional(mac));
}

// Out of the list before the handler is called: it may begin another.
void AddressProbe::end(std::list<Pending>::iterator at, const std::optional<Mac>& holder) {
  loop_.cancel(at->timer);
  const Question question = std::move(at->question);
  pending_.erase(at);
  handler_.on_end(question, holder);
}

}  // namespace netstack
