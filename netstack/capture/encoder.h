#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/capture/interface_table.h"
#include "netstack/capture/record_ring.h"

namespace netstack {

constexpr uint32_t kSnapBytes = 262'144;  // what tcpdump and Wireshark accept at most

// Turns frames into the bytes of a capture file, in memory: what happens when a descriptor takes
// only part of them is decided elsewhere, unit by unit. Belongs to one thread.
//
//   file = header  batch  batch  …  trailer        batch = unit  unit  …
//
// A unit is all that one frame puts into the file. It goes in whole or not at all.
class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual std::span<const uint8_t> file_header() const = 0;

  virtual void add(const RecordRing::Record& record) = 0;
  virtual std::span<const uint8_t> bytes() = 0;  // of the batch; valid until it changes
  // Where each unit ends in bytes(), in order.
  const std::vector<size_t>& ends() const { return ends_; }
  size_t size() const { return ends_.empty() ? 0 : ends_.back(); }
  // The batch's first `unit_count` units are in the file and its others never will be. Begins the
  // next batch.
  virtual void settle(size_t unit_count) = 0;

  // What the file ends with. `seen_frames`: of each interface, those that did not get into the file
  // included.
  virtual std::vector<uint8_t> file_trailer(uint64_t wall_ns,
                                            std::span<const uint64_t> seen_frames) = 0;

 protected:
  std::vector<size_t> ends_;
};

// pcapng for a file named *.pcapng or *.ntar, pcap for every other name, descriptors included.
// `application` names us in the file, as in "lanyard 1.2"; `snap_bytes` stands there as what frames
// are cut at. The table is borrowed.
std::unique_ptr<Encoder> make_encoder(std::string_view path, const InterfaceTable& interfaces,
                                      std::string_view application, uint32_t snap_bytes);

}  // namespace netstack
