#pragma once

#include <cstdint>

namespace tools {

// What the control socket has done, for GET /metrics.
struct ControlCounters {
  uint64_t connections = 0;
  uint64_t requests = 0;         // answered
  uint64_t refused = 0;          // of them, with status 400 or more
  uint64_t gave_way = 0;         // clients cut because more came than there is room for
  uint64_t slow_cut = 0;         // clients that took too long over a request and its answer
  uint64_t readers_cut = 0;      // readers of events that stopped reading
  uint64_t readers_refused = 0;  // readers of events beyond the limit
  uint64_t turns = 0;            // of the loop in which the socket was served
  uint64_t busy_ns = 0;          // spent in them
  uint64_t busy_ns_max = 0;      // in one of them: what a frame has waited for at most
};

}  // namespace tools
