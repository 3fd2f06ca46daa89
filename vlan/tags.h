#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "netstack/frame/frame.h"

namespace vlan {

enum class Form : uint8_t { kUntagged, kTagged };  // how a port wants the frames of a VLAN

// An S-tagged frame whose body is in more parts than this cannot be given a second tag.
constexpr size_t kBodyPartsMax = 256;

// Has a C-TAG (TPID 0x8100) outermost. An S-TAG (0x88a8) is payload, as it is to VDE.
inline bool is_c_tagged(const netstack::Frame& frame) {
  return frame.tagged() && frame.head[12] == 0x81 && frame.head[13] == 0x00;
}

// Would get a second tag where it leaves tagged: its S-TAG stays.
inline bool takes_two_tags(const netstack::Frame& frame) {
  return frame.tagged() && !is_c_tagged(frame);
}

// Gives frames the form in which a port wants them. A frame that has it already is passed on as it
// is, another is copied (its head, not its body) and changed:
//
//            to kTagged in VLAN v                     to kUntagged
//  untagged  tag v pushed, PCP and DEI 0              as it is
//  tagged v  as it is                                 tag popped
//  tagged 0  VID becomes v, PCP and DEI stay          tag popped
//  S-tagged  tag v pushed in front of the S-TAG       as it is
//
// A frame whose popped tag had another behind it leaves with a head of 14 bytes whose type is that
// tag's TPID, the rest of the tag being in the body: the same bytes in the same order.
class Tagger {
 public:
  Tagger();

  // As many frames of `run`, from its front and at least one, as can be had at once, in `form`.
  // They are valid until the next call. `run` is not empty, and no frame that needs a second tag
  // has more than kBodyPartsMax parts.
  std::span<const netstack::Frame> reshape(std::span<const netstack::Frame> run, uint16_t vid,
                                           Form form);

 private:
  bool add_changed(const netstack::Frame& frame, uint16_t vid, Form form);
  void push_tag(netstack::Frame& frame, uint16_t vid);
  void push_before_tag(netstack::Frame& frame, uint16_t vid);

  std::array<netstack::Frame, netstack::kBurstFrames> frames_;
  std::array<std::array<uint8_t, netstack::kTagBytes>, netstack::kBurstFrames> spilled_{};
  size_t count_ = 0;
  std::vector<iovec> parts_;  // of bodies that got a first part of their own
  size_t part_count_ = 0;
};

}  // namespace vlan
