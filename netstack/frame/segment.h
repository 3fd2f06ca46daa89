#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "netstack/base/counters.h"
#include "netstack/frame/frame.h"

namespace netstack {

// How a super-frame is to be cut: the sender's order, as virtio 1.2 §5.1.6 gives it.
struct Gso {
  enum class Kind : uint8_t { kTcp4, kTcp6, kUdp };
  Kind kind = Kind::kTcp4;
  uint16_t payload_bytes = 0;  // of TCP or UDP payload in each segment but the last
};

constexpr size_t kSegmentHead_size = 192;      // from the IP header, tags before it, to the payload
constexpr uint32_t kSegmentCountMax = 2048;    // out of one super-frame: 65,535 bytes by 32
constexpr unsigned kSegmentExtensionsMax = 8;  // IPv6 extension headers before TCP or UDP

// Cuts super-frames (TSO over IPv4 and IPv6, USO) into frames a link can carry, with lengths, IPv4
// identifiers, sequence numbers, flags and checksums as if the sender had done it itself.
//
//   super-frame  │ head │ IP │ TCP │ payload ........................ │
//   segment 1    │ head │ IP'│ TCP'│──────────►│          the headers are copies, kept here;
//   segment 2    │ head │ IP'│ TCP'│           │─────────►│  the payload stays where it is
//
//   if (auto wrong = segmenter.begin(super, gso)) count_drop(*wrong);
//   for (auto burst = segmenter.next(); !burst.empty(); burst = segmenter.next()) deliver(burst);
class Segmenter {
 public:
  // `super`: whole, its body one piece, valid until the last next(). Whatever its checksums are,
  // those of the segments are computed anew. Nothing, or why the frame cannot be cut.
  std::optional<DropReason> begin(const Frame& super, Gso gso);

  // The next segments, at most kBurstFrames, valid until the next call. Empty: all are done.
  std::span<Frame> next();

 private:
  bool find_ip(std::span<const uint8_t> body);
  bool read_ip4(std::span<const uint8_t> body);
  bool read_ip6(std::span<const uint8_t> body);
  bool read_transport(std::span<const uint8_t> body);
  void make(size_t slot);
  void finish_ip(uint8_t* ip, uint32_t payload_size) const;
  void finish_tcp(uint8_t* tcp, bool last) const;

  Frame super_;
  Gso gso_;
  const uint8_t* body_ = nullptr;
  uint32_t ip_ = 0;         // where the IP header starts, from body_
  uint32_t transport_ = 0;  // TCP's or UDP's
  uint32_t payload_ = 0;
  uint32_t end_ = 0;   // of the payload; what follows is padding
  uint32_t next_ = 0;  // where the next segment's payload starts
  uint32_t index_ = 0;
  bool done_ = true;
  std::array<Frame, kBurstFrames> frames_;
  std::array<std::array<iovec, 2>, kBurstFrames> bodies_;
  std::array<std::array<uint8_t, kSegmentHead_size>, kBurstFrames> heads_;
};

}  // namespace netstack
