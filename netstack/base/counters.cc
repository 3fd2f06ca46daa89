#include "netstack/base/counters.h"

#include <fmt/format.h>

#include "netstack/base/check.h"

namespace netstack {

namespace {

struct Row {
  std::string_view name;
  std::string_view sentence;
};

constexpr std::array kRows = {
#define X(id, name, sentence) Row{name, sentence},
    NETSTACK_DROP_REASONS(X)
#undef X
};
static_assert(kRows.size() == kDropReasonCount);

const Row& row(DropReason reason) {
  check(reason < DropReason::kCount, "a drop reason is in the table");
  return kRows[static_cast<size_t>(reason)];
}

}  // namespace

std::string_view drop_reason_name(DropReason reason) {
  return row(reason).name;
}
std::string_view drop_reason_sentence(DropReason reason) {
  return row(reason).sentence;
}

std::string describe_drops(const PortCounters& counters) {
  std::string said;
  for (size_t at = 0; at < kDropReasonCount; ++at) {
    const auto reason = static_cast<DropReason>(at);
    const uint64_t frames = counters.dropped(reason);
    if (frames == 0) continue;
    said += fmt::format("{}{} {} ({})", said.empty() ? "frames dropped: " : ", ", frames,
                        drop_reason_name(reason), drop_reason_sentence(reason));
  }
  return said;
}

}  // namespace netstack
