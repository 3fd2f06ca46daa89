// The way to the guests. What a tick brings forth is staged and delivered once, when the tick ends:
// the engine calls back while it is handed a frame, and the switch must not be entered again from
// there; and bursts are cheaper than frames.
#include "netstack/base/bytes.h"
#include "netstack/gateway/gateway.h"

namespace netstack {

void Gateway::stage_packet(const ReturnPath& path, std::span<const uint8_t> packet,
                           std::string_view note) {
  std::vector<uint8_t> frame(kEthernetHeadBytes);
  path.guest.write(frame.data());
  path.gateway.write(frame.data() + 6);
  const bool v6 = (packet[0] >> 4U) == 6;
  write_u16(&frame[12], v6 ? kEthertypeIpv6 : kEthertypeIpv4);
  frame.insert(frame.end(), packet.begin(), packet.end());
  stage(frame, note);
  schedule_flush();
}

void Gateway::stage_fragments(std::span<const uint8_t> frame) {
  const auto packet = parse_towards_guest(frame);
  if (!packet) return count_drop(DropReason::kMalformed);
  for (const auto& piece : fragment_ipv4(packet->ip, large_.mtu_bytes())) {
    stage_packet(packet->path, piece);
  }
}

void Gateway::stage(std::span<const uint8_t> frame, std::string_view note) {
  const size_t staged = staged_bytes_.size() + staged_text_.size();
  if (staged + frame.size() + note.size() > kStagedBytesMax) {
    return count_drop(DropReason::kQueueFull);
  }
  if (!pass_to_guest(frame)) return count_drop(DropReason::kDenied);
  if (!note.empty()) {
    staged_notes_.push_back({staged_ends_.size(), staged_text_.size(), note.size()});
    staged_text_ += note;
  }
  staged_bytes_.insert(staged_bytes_.end(), frame.begin(), frame.end());
  staged_ends_.push_back(static_cast<uint32_t>(staged_bytes_.size()));
}

void Gateway::schedule_flush() {
  if (flush_scheduled_) return;
  flush_scheduled_ = true;
  loop_.at_end_of_tick([this] { flush(); });
}

// One fill for everything this tick brought, then the frames, in bursts.
void Gateway::flush() {
  flush_scheduled_ = false;
  for (const auto& reset : std::exchange(engine_resets_, {})) engine_.input(reset);
  engine_.end_tick();
  flows_.begin_burst();
  FrameBatch<kBurstFrames> batch;
  const auto deliver_batch = [&] {
    deliver(batch.frames());
    batch.clear();
    notes_.clear();
  };
  const std::string_view text = staged_text_;
  auto note = staged_notes_.begin();
  uint32_t start = 0;
  for (size_t at = 0; at < staged_ends_.size(); ++at) {
    const auto frame = std::span(staged_bytes_).subspan(start, staged_ends_[at] - start);
    const bool added = batch.add(frame.data(), frame.size());
    if (added) batch.frames().back().offload = large_.put_right(frame);
    start = staged_ends_[at];
    if (note != staged_notes_.end() && note->frame == at) {
      if (added) {
        notes_.push_back(
            {batch.frames().size() - 1, text.substr(note->text_start, note->text_size)});
      }
      ++note;
    }
    if (batch.full()) deliver_batch();
  }
  deliver_batch();
  staged_bytes_.clear();
  staged_ends_.clear();
  staged_text_.clear();
  staged_notes_.clear();
}

}  // namespace netstack
