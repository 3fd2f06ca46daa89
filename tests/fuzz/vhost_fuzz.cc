// A front end and a guest on a vhost-user port: messages with arbitrary payloads and descriptors,
// arbitrary bytes in rings and descriptor tables, frames both ways. Checked: the port stands, or
// has left with a reason; frames on their way into the switch are no longer than a frame can be; no
// descriptor is left open.
//
//   features (low 2 bits: kind of ring; bit 2: two queue pairs; bit 3: without offloads) │
//   records: operation (low 3 bits), ring (the rest) │
//   kMessage: request (1), flags (1), descriptor (1), size (2), payload; kMemory: place (2), size
//   (1), bytes; kSend: pieces (1), size (2), header and frame; kBuffers: count (1), size (2);
//   kToGuest: size (2); kKick: none; kCut: none
#define DOCTEST_CONFIG_DISABLE  // the fixtures' checks are for tests; here check() judges
#include <algorithm>
#include <cstring>
#include <vector>

#include "netstack/base/check.h"
#include "tests/fuzz/input.h"
#include "tests/unit/vhost_guest.h"

using namespace netstack;
using packets::Bytes;

namespace {

constexpr size_t kRecords_count = 64;
constexpr uint16_t kRing_count = 16;
constexpr size_t kFrameSize_max = 70'000;
constexpr size_t kBuffers_max = 8;

enum class Operation : uint8_t { kMessage, kMemory, kSend, kBuffers, kToGuest, kKick, kCut };

uint64_t features_of(uint8_t bits) {
  using namespace vhost_bed;
  const uint64_t offloads = (bits & 8U) != 0 ? 0 : kMergeable | kChecksums | kSegments;
  return kPlain | kRingKinds[bits & 3U] | offloads;
}

class Life {
 public:
  explicit Life(uint8_t bits) : guest_(features_of(bits), (bits & 4U) != 0 ? 2 : 1, kRing_count) {}

  void run(tests::Input& input) {
    for (size_t at = 0; at < kRecords_count && !input.empty() && stands(); ++at) step(input);
    if (stands()) return;
    check(guest_.host.reasons.size() == 1, "a port leaves once");
  }

 private:
  bool stands() const { return guest_.host.owned != nullptr && guest_.host.reasons.empty(); }

  void step(tests::Input& input) {
    const uint8_t first = input.u8();
    const size_t ring = (first >> 3U) % guest_.rings.size();
    const size_t pair = ring / 2;
    switch (static_cast<Operation>(first & 7U)) {
      case Operation::kMessage:
        return send_message(input);
      case Operation::kMemory:
        return write_memory(input, *guest_.rings[ring]);
      case Operation::kSend:
        return send_frame(input, pair);
      case Operation::kBuffers: {
        const size_t count = input.u8() % kBuffers_max;
        const uint16_t size = input.u16();
        return room_for(count * size) ? guest_.give_buffers(count, size, pair) : void();
      }
      case Operation::kToGuest: {
        const Bytes bytes = vhost_bed::tcp_frame(input.u16() % 9000U).build();
        Frame frame;
        iovec body{};
        if (view_frame(bytes.data(), bytes.size(), frame, body)) guest_.port->send({&frame, 1});
        return guest_.settle();
      }
      case Operation::kKick:
        return guest_.kick(ring);
      case Operation::kCut:
        guest_.ram.shrink();  // the fixture's own view of it is gone, too: no more writes
        cut_ = true;
        return guest_.kick(ring);
    }
  }
  void send_message(tests::Input& input) {
    const uint8_t request = input.u8();
    const uint8_t flags = input.u8();
    const uint8_t descriptors = input.u8();
    const auto bytes = input.bytes(input.u16() % 512U);
    Bytes payload(bytes.begin(), bytes.end());
    const std::array<int, 3> choice{guest_.ram.file(), guest_.kicks[0].get(),
                                    guest_.front.socket.get()};
    std::vector<int> fds;
    for (unsigned left = descriptors & 3U; left > 0; --left) {
      fds.push_back(choice[(descriptors >> 2U) % choice.size()]);
    }
    guest_.front.send_bytes(request, flags, payload.data(), static_cast<uint32_t>(payload.size()),
                            fds);
    guest_.settle();
  }
  // Descriptors and both areas of a ring lie one behind the other.
  void write_memory(tests::Input& input, const DriverRing& ring) {
    const size_t reach = ring.device_area - ring.descriptors + 256;
    const size_t place = input.u16() % reach;
    const auto bytes = input.bytes(input.u8());
    if (cut_ || bytes.empty()) return;
    std::memcpy(guest_.ram.at(ring.descriptors + place), bytes.data(), bytes.size());
  }
  void send_frame(tests::Input& input, size_t pair) {
    const size_t piece_count = 1 + input.u8() % 16U;
    const auto bytes = input.bytes(input.u16());
    VnetHeaderWire header{};
    const size_t head_size = std::min(bytes.size(), sizeof header);
    std::memcpy(&header, bytes.data(), head_size);
    Bytes frame(bytes.begin() + static_cast<ptrdiff_t>(head_size), bytes.end());
    if (frame.size() > kFrameSize_max || !room_for(frame.size() + 4096)) return;
    guest_.send(frame, header, piece_count, piece_count % 2 == 0, pair);
    guest_.kick(2 * pair + 1);
  }
  bool room_for(size_t size) {
    used_size_ += size + 4096;
    return !cut_ && used_size_ < guest_.ram.size() / 2;
  }

  vhost_bed::Guest guest_;
  size_t used_size_ = 0;
  bool cut_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  Life(0);  // what is opened once is open before descriptors are counted
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  const int before_count = tests::low_descriptor_count();
  {
    Life life(input.u8());
    life.run(input);
  }
  check(tests::low_descriptor_count() == before_count, "no descriptor is left open");
  return 0;
}
