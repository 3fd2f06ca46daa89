// Pushing and popping tags.
//
// What: a tag lives in Frame::head, a private copy of the frame's first 14 or 18 bytes, so putting
// one in or taking one out moves at most six bytes and leaves the body where its sender put it. The
// frames that came in are not altered: a flood gives the same frame to ports that want it tagged
// and to ports that do not. The copies are made once per run of frames and form, not once per port,
// and not at all where the frame has the wanted form, as between two trunks or two access ports.
//
//   untagged        dst src │ type │ body                dst src 8100 v type │ body
//   S-tagged        dst src 88a8 s type │ body           dst src 8100 v 88a8 │ s type │ body
//                   head: 18 bytes                       head: 18 bytes        spilled part
//
// A head holds one tag. A second one, in front of an S-TAG, pushes that tag's last four bytes out
// of the head; they become a body part of their own, and the list of parts is copied. Refused: a
// head of 22 bytes, which every port would carry for the one case.
//
// A checksum that is still to be finished (Offload) is described by offsets from the start of the
// frame, so it moves with the tag.
#include "vlan/tags.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "netstack/base/check.h"

namespace vlan {

using netstack::Frame;
using netstack::kTagBytes;

namespace {

constexpr size_t kTypeAt = 12;  // of the first type or TPID in a head
constexpr size_t kPartCountMax = 2 * (kBodyPartsMax + 1);
constexpr uint16_t kVidMask = 0x0fff;

void write_u16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value >> 8U);
  at[1] = static_cast<uint8_t>(value);
}

bool has_form(const Frame& frame, uint16_t vid, Form form) {
  if (form == Form::kUntagged) return !is_c_tagged(frame);
  return is_c_tagged(frame) && frame.vid() == vid;
}

// A start inside the addresses is nonsense, which the egress port will find out.
void shift_checksum(Frame& frame, int by) {
  if (!frame.offload.needs_checksum || frame.offload.checksum_start < kTypeAt + kTagBytes) return;
  const int shifted = frame.offload.checksum_start + by;
  frame.offload.checksum_start =
      static_cast<uint16_t>(std::min<int>(shifted, std::numeric_limits<uint16_t>::max()));
}

void pop_tag(Frame& frame) {
  std::memcpy(&frame.head[kTypeAt], &frame.head[kTypeAt + kTagBytes], 2);
  frame.head_bytes = netstack::kEthernetHeadBytes;
  frame.bytes -= kTagBytes;
  shift_checksum(frame, -static_cast<int>(kTagBytes));
}

void change_vid(Frame& frame, uint16_t vid) {
  uint8_t* tci = &frame.head[kTypeAt + 2];
  write_u16(tci, static_cast<uint16_t>((tci[0] << 8U & ~kVidMask) | vid));
}

}  // namespace

Tagger::Tagger() : parts_(kPartCountMax) {}

std::span<const Frame> Tagger::reshape(std::span<const Frame> run, uint16_t vid, Form form) {
  const auto as_it_is = [&](const Frame& frame) { return has_form(frame, vid, form); };
  const auto changed = std::find_if_not(run.begin(), run.end(), as_it_is);
  if (changed != run.begin()) return run.first(static_cast<size_t>(changed - run.begin()));
  count_ = 0;
  part_count_ = 0;
  for (const Frame& frame : run) {
    if (count_ == frames_.size() || as_it_is(frame) || !add_changed(frame, vid, form)) break;
  }
  netstack::check(count_ > 0, "the parts of any one frame fit");
  return std::span(frames_).first(count_);
}

// False: there is no room for the parts of its body.
bool Tagger::add_changed(const Frame& frame, uint16_t vid, Form form) {
  const bool pushes_second = form == Form::kTagged && takes_two_tags(frame);
  if (pushes_second && part_count_ + frame.body.size() + 1 > parts_.size()) return false;
  Frame& copy = frames_[count_];
  copy = frame;
  if (form == Form::kUntagged) {
    pop_tag(copy);
  } else if (is_c_tagged(frame)) {
    change_vid(copy, vid);
  } else if (pushes_second) {
    push_before_tag(copy, vid);
  } else {
    push_tag(copy, vid);
  }
  ++count_;
  return true;
}

void Tagger::push_tag(Frame& frame, uint16_t vid) {
  std::memcpy(&frame.head[kTypeAt + kTagBytes], &frame.head[kTypeAt], 2);
  write_u16(&frame.head[kTypeAt], netstack::kEthertypeVlan);
  write_u16(&frame.head[kTypeAt + 2], vid);
  frame.head_bytes = netstack::kTaggedHeadBytes;
  shift_checksum(frame, kTagBytes);
  frame.bytes += kTagBytes;
}

// The head is full: what the S-TAG had after its TPID goes into a body part of its own.
void Tagger::push_before_tag(Frame& frame, uint16_t vid) {
  std::array<uint8_t, kTagBytes>& spilled = spilled_[count_];
  std::memcpy(spilled.data(), &frame.head[kTypeAt + 2], kTagBytes);
  iovec* parts = &parts_[part_count_];
  parts[0] = {spilled.data(), spilled.size()};
  std::copy(frame.body.begin(), frame.body.end(), parts + 1);
  frame.body = {parts, frame.body.size() + 1};
  part_count_ += frame.body.size();
  push_tag(frame, vid);  // moves the S-TAG's TPID to the end of the head
}

}  // namespace vlan
