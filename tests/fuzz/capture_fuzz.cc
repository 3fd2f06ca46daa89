// Frames on their way into a capture file: through the ring between loop and writer, which drains
// it now and then, and through the encoder. Checked: the same frames come out, in order, or there
// was no room; the savefile reads back.
//
//   records: operation (low bit 1: drain) │ size (2) │ that many bytes, repeated to fill
#include <pcap/pcap.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "netstack/base/check.h"
#include "netstack/capture/pcap_encoder.h"
#include "netstack/capture/record_ring.h"
#include "tests/fuzz/input.h"

using namespace netstack;

namespace {

using Bytes = std::vector<uint8_t>;

struct Stamped {
  uint64_t wall_ns;
  Bytes bytes;
};

constexpr size_t kRing_size = 3 * 65'600 / RecordRing::kAlignBytes * RecordRing::kAlignBytes;
constexpr size_t kPattern_size = 64;  // of input per frame at most; long frames repeat it

Bytes frame_of(tests::Input& input, uint16_t size) {
  Bytes bytes(size);
  const auto pattern = input.bytes(std::min<size_t>(size, kPattern_size));
  for (size_t at = 0; at < bytes.size() && !pattern.empty(); ++at) {
    bytes[at] = pattern[at % pattern.size()];
  }
  return bytes;
}

void drain(RecordRing& ring, std::deque<Stamped>& waiting, PcapEncoder& encoder) {
  for (RecordRing::Record record{}; ring.next(record); waiting.pop_front()) {
    check(!waiting.empty(), "no frame comes that was not put in");
    const Stamped& wanted = waiting.front();
    check(record.wall_ns == wanted.wall_ns, "a frame keeps its time stamp");
    check(std::ranges::equal(record.bytes, wanted.bytes), "a frame comes out as it went in");
    encoder.add(record);
  }
  ring.release();
  check(waiting.empty(), "every frame comes out");
}

// Counts the frames of a savefile, and reads every one.
size_t count_in(Bytes& file) {
  std::FILE* stream = ::fmemopen(file.data(), file.size(), "rb");
  char errors[PCAP_ERRBUF_SIZE];
  pcap_t* reader = ::pcap_fopen_offline(stream, errors);  // owns the stream
  check(reader != nullptr, "libpcap reads our file header");
  size_t count = 0;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  while (::pcap_next_ex(reader, &header, &bytes) == 1) ++count;
  ::pcap_close(reader);
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  RecordRing ring(kRing_size);
  PcapEncoder encoder;
  std::deque<Stamped> waiting;
  size_t taken_count = 0;
  for (uint64_t now_ns = 1; !input.empty(); ++now_ns) {
    const uint8_t operation = input.u8();
    const Bytes bytes = frame_of(input, input.u16());
    Frame frame;
    iovec body{};
    if (view_frame(bytes.data(), bytes.size(), frame, body)) {
      const bool taken = ring.add(now_ns, frame);
      check(taken || !waiting.empty(), "an empty ring takes any frame");
      if (taken) waiting.push_back({now_ns, bytes});
      taken_count += taken ? 1 : 0;
    }
    if ((operation & 1U) == 0) continue;
    ring.publish();
    drain(ring, waiting, encoder);
  }
  ring.publish();
  drain(ring, waiting, encoder);

  const auto header = encoder.file_header();
  Bytes file(header.begin(), header.end());
  const auto records = encoder.bytes();
  file.insert(file.end(), records.begin(), records.end());
  check(encoder.ends().size() == taken_count, "every frame has its record");
  check(count_in(file) == taken_count, "and libpcap reads it");
  return 0;
}
