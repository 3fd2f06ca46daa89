#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/reachability/reason.h"

namespace tools {

enum class Mark : uint8_t { kOk, kWarning, kProblem };
std::string_view mark_name(Mark mark);  // "ok", "warning", "problem"

// The answer to one question the doctor asked. Sentences are without their full stop.
struct Finding {
  std::string id;     // stable, for machines: "ipv4-route"
  std::string title;  // for people: "IPv4 route"
  std::string fact;   // what was found, and where it matters what was not tried
  bool ok = true;
  bool needed = true;        // the verdict rests on it: not ok is a problem, else a warning
  std::string cure = {};     // what to do; only where it is not ok, and often empty even then
  std::string cause = {};    // the row of the table of causes it comes to; empty: none
  int errno_value = 0;       // 0: none
  std::string address = {};  // of whom it speaks: a nameserver's, or a guest's MAC
  std::optional<unsigned> port = {};  // of the LAN, likewise
  std::string other_address = {};     // of the second, where two are at odds
  std::optional<unsigned> other_port = {};
  std::string guest_told = {};  // what a guest is told about it; empty: nothing
  uint64_t more_count = 0;  // it stands for so many of its kind that are not shown; 0: for itself

  Mark mark() const;
};
using Findings = std::vector<Finding>;

// What is not ok, with what to do about it (may be empty).
Finding warning(std::string id, std::string title, std::string fact, std::string cure,
                int errno_value = 0);
Finding problem(std::string id, std::string title, std::string fact, std::string cure,
                int errno_value = 0);

// Fills in what a reason says: not ok, cause, fact, cure, errno and what the guest is told. `v6`:
// over which IP version.
void take_reason(Finding& finding, const netstack::Reason& reason, bool v6);

Mark worst(const Findings& findings);
// As they are shown: of each kind of trouble (id, mark and cause) the first few, and one that
// stands for all the others, so that a guest with many faces does not bury what else is wrong.
constexpr size_t kShownOfKind_count = 5;
Findings shown(const Findings& findings);
const Finding* first_problem(const Findings& findings);  // null: none

nlohmann::ordered_json as_json(const Finding& finding);
// A JSON text for standard output. Paths and names of peers may hold bytes that are not UTF-8:
// those are replaced.
std::string dump(const nlohmann::ordered_json& json);

}  // namespace tools
