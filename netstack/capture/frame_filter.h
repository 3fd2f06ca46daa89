#pragma once

#include <pcap/pcap.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "netstack/frame/frame.h"

namespace netstack {

constexpr size_t kFilterText_size = 1024;  // of a filter, at most

// Which frames a capture takes: an expression of pcap-filter(7), compiled by libpcap and run on
// frames as they are on the wire (DLT_EN10MB). Names of hosts, services and protocols are not
// looked up: a nameserver's silence would hold up whoever compiles.
class FrameFilter {
 public:
  // Throws Error (EX_USAGE) with libpcap's complaint, or for a name.
  explicit FrameFilter(const std::string& text);
  ~FrameFilter();
  FrameFilter(const FrameFilter&) = delete;
  FrameFilter& operator=(const FrameFilter&) = delete;

  bool takes(const Frame& frame);  // as it is: finish what is unfinished before

 private:
  bpf_program program_{};
  std::vector<uint8_t> whole_;  // of a frame in pieces
};

}  // namespace netstack
