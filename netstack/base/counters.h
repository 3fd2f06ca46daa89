#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace netstack {

// Why a frame went no further. One table: the name is for machines, the sentence for people.
#define NETSTACK_DROP_REASONS(X)                                                              \
  X(kRunt, "runt", "shorter than its own Ethernet header")                                    \
  X(kTooLong, "too-long", "longer than the port takes")                                       \
  X(kQueueFull, "queue-full", "the receiver did not read fast enough and its queue was full") \
  X(kLinkDown, "link-down", "the port's link was set down")                                   \
  X(kPeerGone, "peer-gone", "the receiver closed its socket")                                 \
  X(kNotReady, "not-ready", "the receiver's guest was not using its network card")            \
  X(kBadOffload, "bad-offload", "a checksum was to be finished outside the frame")            \
  X(kForeignSource, "foreign-source", "the source address is not of the guests' network")     \
  X(kHairpin, "hairpin", "the destination is behind the port the frame came from")            \
  X(kVlanNotMember, "vlan-not-member", "of a VLAN that this port is not a member of")         \
  X(kStorm, "storm", "a copy that came back through a loop between ports")                    \
  X(kMalformed, "malformed", "a header inside the frame is cut short or contradicts itself")  \
  X(kUnsupported, "unsupported", "a protocol this port does not carry")                       \
  X(kSequence, "sequence", "TCP data the NAT engine could not bear near sequence number 0")   \
  X(kLimit, "limit", "a table with a fixed limit was full")                                   \
  X(kDenied, "denied", "the policy denies the flow it belongs to")

enum class DropReason : uint8_t {
#define X(id, name, sentence) id,
  NETSTACK_DROP_REASONS(X)
#undef X
      kCount,
};
constexpr size_t kDropReasonCount = static_cast<size_t>(DropReason::kCount);

std::string_view drop_reason_name(DropReason reason);
std::string_view drop_reason_sentence(DropReason reason);

// Per port. Ingress is into the switch, egress out of it; a dropped frame is counted in `drops`
// of the port that dropped it and not as egress.
struct PortCounters {
  uint64_t ingress_frames = 0;
  uint64_t ingress_bytes = 0;
  uint64_t egress_frames = 0;
  uint64_t egress_bytes = 0;
  std::array<uint64_t, kDropReasonCount> drops{};

  void drop(DropReason reason, uint64_t frames = 1) {
    drops[static_cast<size_t>(reason)] += frames;
  }
  uint64_t dropped(DropReason reason) const { return drops[static_cast<size_t>(reason)]; }
  uint64_t dropped() const {
    uint64_t sum = 0;
    for (const uint64_t count : drops) sum += count;
    return sum;
  }
};

// "frames dropped: 3 queue-full (the receiver …), 1 runt (…)", or empty when there were none.
std::string describe_drops(const PortCounters& counters);

}  // namespace netstack
