#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "netstack/base/checksum.h"
#include "netstack/base/counters.h"
#include "netstack/frame/frame.h"

namespace netstack {

constexpr size_t kSegmentHead_size = 192;      // from the IP header, tags before it, to the payload
constexpr uint32_t kSegmentCountMax = 2048;    // out of one super-frame: 65,535 bytes by 32
constexpr unsigned kSegmentExtensionsMax = 8;  // IPv6 extension headers before TCP or UDP
constexpr size_t kSegmentPartsMax = 2048;      // of a super-frame's body, and of one burst's bodies

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
  // `super`: whole, in any number of pieces up to kSegmentPartsMax, valid until the last next().
  // Whatever its checksums are, those of the segments are computed anew. Nothing, or why the frame
  // cannot be cut.
  std::optional<DropReason> begin(const Frame& super, Gso gso);
  std::optional<DropReason> begin(const Frame& super) { return begin(super, super.offload.gso); }

  // The next segments, at most kBurstFrames, valid until the next call. Empty: all are done.
  std::span<Frame> next();

 private:
  void copy_headers();
  bool find_ip();
  bool read_ip4();
  bool read_ip6();
  bool read_transport();
  bool have(uint32_t size) const { return size <= header_size_; }
  bool room_for_one() const { return part_count_ + super_.body.size() + 1 <= kSegmentPartsMax; }
  void make(size_t slot);
  void take_payload(uint32_t size, Checksum& sum);
  void finish_ip(uint8_t* ip, uint32_t payload_size) const;
  void finish_tcp(uint8_t* tcp, bool last) const;

  Frame super_;
  Gso gso_;
  uint32_t body_size_ = 0;
  uint32_t header_size_ = 0;  // of the body's first bytes, copied into header_
  uint32_t ip_ = 0;           // where the IP header starts, from the body's start
  uint32_t transport_ = 0;    // TCP's or UDP's
  uint32_t payload_ = 0;
  uint32_t end_ = 0;   // of the payload; what follows is padding
  uint32_t next_ = 0;  // where the next segment's payload starts
  uint32_t index_ = 0;
  bool done_ = true;
  size_t part_ = 0;         // the body's piece that holds next_
  size_t part_offset_ = 0;  // and where in it
  size_t part_count_ = 0;   // used of parts_
  std::array<uint8_t, kSegmentHead_size> header_;
  std::array<Frame, kBurstFrames> frames_;
  std::array<iovec, kSegmentPartsMax> parts_;
  std::array<std::array<uint8_t, kSegmentHead_size>, kBurstFrames> heads_;
};

}  // namespace netstack
