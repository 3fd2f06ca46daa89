#pragma once

#include <pcap/pcap.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

namespace netstack {

// Turns frames into the bytes of a libpcap savefile (DLT_EN10MB, nanosecond stamps, host byte
// order). libpcap writes the format; it writes into memory here, because what happens when a
// descriptor takes only part of the bytes is decided elsewhere, record by record.
class PcapEncoder {
 public:
  PcapEncoder();
  ~PcapEncoder();
  PcapEncoder(const PcapEncoder&) = delete;
  PcapEncoder& operator=(const PcapEncoder&) = delete;

  const std::vector<uint8_t>& file_header() const { return file_header_; }

  void add(uint64_t wall_ns, std::span<const uint8_t> frame);
  size_t size() const { return ends_.empty() ? 0 : ends_.back(); }
  std::span<const uint8_t> bytes();  // the records since the last clear(); valid until then
  // Where each record ends in bytes(), in order.
  const std::vector<size_t>& ends() const { return ends_; }
  void clear();

  static constexpr int kSnapBytes = 262'144;  // what tcpdump and Wireshark accept at most

 private:
  char* memory_ = nullptr;
  size_t memory_size_ = 0;
  pcap_t* pcap_ = nullptr;
  std::FILE* file_ = nullptr;  // onto memory_; closed by the dumper
  pcap_dumper_t* dumper_ = nullptr;
  std::vector<uint8_t> file_header_;
  std::vector<size_t> ends_;
};

}  // namespace netstack
