#include "netstack/reachability/cause_table.h"

#include <fmt/format.h>

#include "netstack/reachability/reason.h"

namespace netstack {
namespace {

constexpr std::string_view kOpening =
    "# Why something is unreachable\n\n"
    "Written by `lanyard doctor --causes`; a test compares the two. The guest is told the first\n"
    "ICMP error over IPv4 and the second over IPv6 (type/code, and what iputils' ping prints).\n"
    "A stated MTU is the one at hand. The same id stands in the log's line, in\n"
    "`GET /events` and `GET /reasons`, in `lanyard doctor` and, with the line, in the comment of\n"
    "the packet in a pcapng capture.\n\n"
    "| id | when | the guest is told | cure | shown by |\n"
    "|---|---|---|---|---|\n";

std::string answer_of(const CauseRow& row) {
  if (!row.answer.told) return "nothing";
  const IcmpAnswer& answer = row.answer;
  const auto phrase = [](bool v6, const IcmpWords& words) {
    const std::string text = icmp_phrase(v6, words);
    return is_too_big(v6, words) ? text.substr(0, text.find_first_of(":(")) : text;
  };
  return fmt::format("{}/{} {}; {}/{} {}", answer.type4, answer.code4,
                     phrase(false, {answer.type4, answer.code4}), answer.type6, answer.code6,
                     phrase(true, {answer.type6, answer.code6}));
}

}  // namespace

std::string causes_as_markdown() {
  std::string out(kOpening);
  for (size_t at = 0; at < kCauseCount; ++at) {
    const CauseRow& row = cause_row(static_cast<Cause>(at));
    if (row.proof.empty()) continue;
    out += fmt::format("| `{}` | {} | {} | {} | {} |\n", row.id, row.when, answer_of(row), row.cure,
                       row.proof);
  }
  return out;
}

}  // namespace netstack
