#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/flows/guest_packet.h"
#include "netstack/wire/tcp.h"

namespace netstack {

// Keeps a guest's TCP segments from walking libslirp off the end of its reassembly queue.
//
// The fault. Up to 4.7, after handing over a queued segment libslirp compares the next expected
// sequence number with that of a "next segment" which may be the end of the list. There it reads a
// field that is 0 for all our guests' addresses. So the walk goes on into foreign memory exactly
// when the segment handed over ends at sequence number 0. 4 GB of transfer pass there once, and a
// hostile guest whenever it likes.
//
// The rule. No segment may lie in the queue that ends at 0. Which ones are queued (early, host's
// side closed, flow not yet established, …) cannot be told from here; where they end can:
//  1. A segment that ends at 0 is refused. It is one in 2^32, and the flow it belongs to is lost
//     unless the guest cuts its data elsewhere when it sends them again.
//  2. libslirp cuts a segment at the far edge of what it would take. A segment across 0 is let
//     through only if libslirp has just said that its window reaches the segment's end.
//
// The question. It is a copy of the segment without data and from far below the window, which
// libslirp answers at once with its window (RFC 9293 §3.10.7.4), in the same call. Nothing is
// remembered of a flow, so nothing can be stale or forged: answers still queued from an earlier
// flow with the same ports may come out as well, but only together with one of the present flow,
// and every answer must reach far enough. (If one cannot go out because the guest's MAC is not
// known, none can. A packet that libslirp gives up would break this; it gives up those due before
// the question, see the caller.)
//
// The region. libslirp takes up to twice what it offers. Once a guest has overrun the offer, each
// further window is nonsense: the difference to the edge overrun, modulo 2^16. Such windows stop
// short of the same place until the flow has passed it. So a flow is held to its window from
// kRegionBytes below 0 on: if its windows are nonsense it gets stuck within their 64 KiB, before it
// comes to 0. A flow that keeps to its window notices nothing.
//
// Refused: following flows by the acknowledgements that go by. Those can be of an earlier flow, or
// nonsense as above, and flows to be followed can be made faster than any table holds them.
class SequenceGuard {
 public:
  static constexpr int32_t kRegionBytes = 128 * 1024;  // above libslirp's largest window, 65535
  static constexpr uint32_t kFarBelowBytes = uint32_t{1} << 20U;  // where the question is put

  enum class Ruling : uint8_t { kPass, kRefuse, kAsk };

  // What to do with a guest's segment on its way to the engine. Nearly all pass.
  static Ruling judge(const Tcp& segment);

  // The frame to give the engine for a ruling of kAsk. Until answer(), the engine's frames count.
  std::vector<uint8_t> ask(const GuestPacket& packet, const Tcp& segment);

  // A frame of the engine's, on its way to a guest. Costs nothing unless a question is open.
  void observe(std::span<const uint8_t> frame) {
    if (question_) note(frame);
  }

  // Whether the segment asked about may go to the engine. Closes the question.
  bool answer();

 private:
  struct Question {
    IpAddress guest;
    IpAddress peer;
    uint16_t guest_port;
    uint16_t peer_port;
    uint32_t end;  // of the segment
    bool answered = false;
    bool refused = false;
  };

  void note(std::span<const uint8_t> frame);

  std::optional<Question> question_;
};

}  // namespace netstack
