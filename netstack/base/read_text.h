#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "netstack/base/clock.h"

namespace netstack {

constexpr uint64_t kNoDeadline_ns = UINT64_MAX;

// Appends to `text` all there is in a file, or what a pipe's writer says before it leaves; blocks
// until then. 0 or an errno value, of open(2) and read(2) and
//   EFBIG      `text` would be longer than `size_max`
//   ETIMEDOUT  the writer has not left by `deadline_ns` of `clock`, or has not come
//   ENXIO      without a deadline only: a FIFO that nobody writes into, which nothing would end
int read_text(const std::string& path, std::string& text, size_t size_max, Clock& clock,
              uint64_t deadline_ns = kNoDeadline_ns);

}  // namespace netstack
