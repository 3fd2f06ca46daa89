#include "netstack/gateway/sequence_guard.h"

namespace netstack {

namespace {

// How far a sequence number is from 0, negative below it (RFC 9293 §3.4: modulo 2^32).
int32_t from_zero(uint32_t seq) {
  return static_cast<int32_t>(seq);
}

bool in_region(uint32_t seq) {
  return from_zero(seq) <= 0 && from_zero(seq) >= -SequenceGuard::kRegionBytes;
}

}  // namespace

void SequenceGuard::observe(const IpAddress& guest, const IpAddress& peer, const Tcp& segment) {
  if ((segment.flags & kTcpAck) == 0) return;
  const Key key{guest, peer, segment.destination_port, segment.source_port};
  const auto known = flows_.find(key);
  if (!in_region(segment.ack)) {
    if (known != flows_.end()) {
      flows_.erase(known);
      std::erase(oldest_first_, key);
    }
    return;
  }
  const bool closes = (segment.flags & (kTcpFin | kTcpRst)) != 0;
  if (known != flows_.end()) {
    const bool fresh = (segment.flags & kTcpSyn) != 0;
    known->second = {segment.ack, segment.window, closes || (known->second.peer_closed && !fresh)};
    return;
  }
  if (flows_.size() == kFlowsMax) {
    flows_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
  flows_.emplace(key, Flow{segment.ack, segment.window, closes});
  oldest_first_.push_back(key);
}

bool SequenceGuard::admits(const IpAddress& guest, const IpAddress& peer,
                           const Tcp& segment) const {
  const auto bytes = static_cast<uint32_t>(segment.payload.size());
  if (bytes == 0 && (segment.flags & kTcpFin) == 0) return true;  // nothing to reassemble
  const uint32_t end = segment.seq + bytes;
  const bool begins_after = from_zero(segment.seq) > 0;
  const bool ends_before = from_zero(end) < -kRegionBytes;
  if (begins_after || ends_before) return true;

  const auto flow = flows_.find({guest, peer, segment.source_port, segment.destination_port});
  if (flow == flows_.end()) {
    // Not followed, so the engine does not expect anything near 0: only what ends there is harmful.
    return from_zero(end) < 0;
  }
  const Flow& known = flow->second;
  const bool early = static_cast<int32_t>(segment.seq - known.expected) > 0;
  const bool beyond = static_cast<int32_t>(end - (known.expected + known.window)) > 0;
  return !early && !beyond && !(end == 0 && known.peer_closed);
}

}  // namespace netstack
