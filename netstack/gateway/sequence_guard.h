#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <tuple>

#include "netstack/gateway/guest_packet.h"
#include "netstack/wire/tcp.h"

namespace netstack {

// Keeps a guest's TCP segments from walking libslirp off the end of its reassembly queue.
//
// Up to 4.7, after handing over the queued segments, libslirp compares the next expected sequence
// number with a "next segment" that is not one: the end of the list. It reads a field there that is
// zero for all our guests' addresses, so the walk goes on into foreign memory exactly when the
// expected number is 0 at that point. That can only happen while it reassembles (a segment came
// early, or the host's side has closed) and the data handed over ends at 0. 4 GB of transfer pass
// there once, and a hostile guest whenever it likes.
//
// So flows whose expected number is just below 0 are followed, by the acknowledgements the engine
// sends. Such a flow may go on in order only: early segments are dropped, and the guest sends them
// again. Refused: segments beyond the advertised window (libslirp would cut them at a place of its
// choosing) and, once the host's side has closed, data that ends at 0.
class SequenceGuard {
 public:
  static constexpr int32_t kRegionBytes = 512 * 1024;  // above twice libslirp's largest window
  static constexpr size_t kFlowsMax = 1024;  // in the region at once; the oldest is given up

  // A segment of the engine's, on its way to a guest.
  void observe(const IpAddress& guest, const IpAddress& peer, const Tcp& segment);

  // Whether a segment of a guest's may reach the engine.
  bool admits(const IpAddress& guest, const IpAddress& peer, const Tcp& segment) const;

  size_t flow_count() const { return flows_.size(); }

 private:
  using Key = std::tuple<IpAddress, IpAddress, uint16_t, uint16_t>;  // guest, peer, their ports
  struct Flow {
    uint32_t expected;  // the next sequence number of the guest's
    uint32_t window;
    bool peer_closed;
  };

  std::map<Key, Flow> flows_;
  std::deque<Key> oldest_first_;
};

}  // namespace netstack
