#include "netstack/capture/pcap_encoder.h"

#include <cstdlib>

#include "netstack/base/check.h"
#include "netstack/base/clock.h"

namespace netstack {

PcapEncoder::PcapEncoder(uint32_t snap_bytes)
    : pcap_(::pcap_open_dead_with_tstamp_precision(DLT_EN10MB, static_cast<int>(snap_bytes),
                                                   PCAP_TSTAMP_PRECISION_NANO)),
      file_(::open_memstream(&memory_, &memory_size_)) {
  check(pcap_ != nullptr && file_ != nullptr, "there is memory for a capture");
  dumper_ = ::pcap_dump_fopen(pcap_, file_);
  check(dumper_ != nullptr && ::pcap_dump_flush(dumper_) == 0, "libpcap writes to memory");
  file_header_.assign(memory_, memory_ + memory_size_);
  std::rewind(file_);
}

PcapEncoder::~PcapEncoder() {
  ::pcap_dump_close(dumper_);
  ::pcap_close(pcap_);
  std::free(memory_);
}

void PcapEncoder::add(const RecordRing::Record& record) {
  pcap_pkthdr head{};
  head.ts.tv_sec = static_cast<time_t>(record.wall_ns / kSecond_ns);
  head.ts.tv_usec = static_cast<suseconds_t>(record.wall_ns % kSecond_ns);  // ns: see above
  head.caplen = static_cast<bpf_u_int32>(record.bytes.size());
  head.len = record.wire_bytes();
  ::pcap_dump(reinterpret_cast<u_char*>(dumper_), &head, record.bytes.data());
  ends_.push_back(static_cast<size_t>(::pcap_dump_ftell64(dumper_)));
}

std::span<const uint8_t> PcapEncoder::bytes() {
  check(::pcap_dump_flush(dumper_) == 0 && std::ferror(file_) == 0, "libpcap writes to memory");
  return {reinterpret_cast<const uint8_t*>(memory_), size()};
}

void PcapEncoder::settle(size_t) {
  std::rewind(file_);
  ends_.clear();
}

}  // namespace netstack
