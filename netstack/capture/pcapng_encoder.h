#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "netstack/capture/encoder.h"
#include "netstack/capture/interface_table.h"

namespace netstack {

// Frames to pcapng (draft-ietf-opsawg-pcapng): who brought each one in, and what is said about it.
//
//   header    Section Header: who wrote the file
//   unit      Interface Description, when the interface is new in the file;
//             Enhanced Packet: time, frame, direction, comment
//   trailer   Interface Statistics, one per interface
class PcapngEncoder final : public Encoder {
 public:
  PcapngEncoder(const InterfaceTable& interfaces, std::string_view application,
                uint32_t snap_bytes = kSnapBytes);

  std::span<const uint8_t> file_header() const override { return file_header_; }
  void add(const RecordRing::Record& record) override;
  std::span<const uint8_t> bytes() override { return bytes_; }
  void settle(size_t unit_count) override;
  std::vector<uint8_t> file_trailer(uint64_t wall_ns,
                                    std::span<const uint64_t> seen_frames) override;

 private:
  struct Unit {
    uint16_t interface;
    size_t described_count;  // interfaces in the file when this unit is
  };

  void add_interface(std::vector<uint8_t>& out, std::string_view name,
                     std::string_view description) const;
  uint32_t describe(uint16_t interface, std::vector<uint8_t>& out);

  const InterfaceTable& interfaces_;
  uint32_t snap_bytes_;
  std::vector<uint8_t> file_header_;
  std::vector<uint8_t> bytes_;
  std::vector<Unit> units_;
  std::vector<uint16_t> described_;               // by number in the file
  std::vector<std::optional<uint32_t>> numbers_;  // in the file, by interface
  std::vector<uint64_t> written_frames_;          // by interface
  size_t settled_count_ = 0;                      // of described_
};

}  // namespace netstack
