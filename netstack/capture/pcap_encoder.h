#pragma once

#include <pcap/pcap.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

#include "netstack/capture/encoder.h"

namespace netstack {

// Turns frames into the bytes of a libpcap savefile (DLT_EN10MB, nanosecond stamps, host byte
// order). libpcap writes the format. It has no place for interfaces, comments and statistics.
class PcapEncoder final : public Encoder {
 public:
  explicit PcapEncoder(uint32_t snap_bytes = kSnapBytes);
  ~PcapEncoder() override;
  PcapEncoder(const PcapEncoder&) = delete;
  PcapEncoder& operator=(const PcapEncoder&) = delete;

  std::span<const uint8_t> file_header() const override { return file_header_; }
  void add(const RecordRing::Record& record) override;
  std::span<const uint8_t> bytes() override;
  void settle(size_t unit_count) override;
  std::vector<uint8_t> file_trailer(uint64_t, std::span<const uint64_t>) override { return {}; }

 private:
  char* memory_ = nullptr;
  size_t memory_size_ = 0;
  pcap_t* pcap_ = nullptr;
  std::FILE* file_ = nullptr;  // onto memory_; closed by the dumper
  pcap_dumper_t* dumper_ = nullptr;
  std::vector<uint8_t> file_header_;
};

}  // namespace netstack
