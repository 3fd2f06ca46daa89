#include "netstack/flows/flow_table.h"

#include <bit>
#include <cstring>
#include <random>

#include "netstack/base/check.h"

namespace netstack {

namespace {

__extension__ using Wide = unsigned __int128;

// The high and low half of a product, folded: every bit of both factors reaches every bit below.
uint64_t fold(uint64_t one, uint64_t other) {
  const Wide product = static_cast<Wide>(one) * other;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64U);
}

uint64_t random_word() {
  std::random_device source;
  return uint64_t{source()} << 32U | source();
}

}  // namespace

FlowTable::FlowTable(size_t flows_max)
    : flows_max_(flows_max),
      seed_{random_word(), random_word()},
      slots_(std::bit_ceil(flows_max * 2), Slot{0, kNowhere}),
      slot_mask_(slots_.size() - 1) {}

uint32_t FlowTable::hash(const FlowKey& key) const {
  uint64_t words[4];
  std::memcpy(&words[0], key.guest.octets.data(), 16);
  std::memcpy(&words[2], key.peer.octets.data(), 16);
  const uint64_t rest = uint64_t{key.guest_port} << 32U | uint64_t{key.peer_port} << 16U |
                        uint64_t{static_cast<uint8_t>(key.protocol)} << 8U | uint64_t{key.guest.v6};
  uint64_t state = fold(seed_[0] ^ words[0], seed_[1] ^ words[1]);
  state = fold(state ^ words[2], seed_[1] ^ words[3]);
  state = fold(state ^ rest, seed_[0] ^ seed_[1]);
  return static_cast<uint32_t>(state ^ state >> 32U);
}

FlowTable::Place FlowTable::find(const FlowKey& key) const {
  const uint32_t wanted = hash(key);
  for (size_t at = wanted & slot_mask_;; at = (at + 1) & slot_mask_) {
    const Slot& slot = slots_[at];
    if (slot.place == kNowhere) return kNowhere;
    if (slot.hash == wanted && pool_[slot.place].key == key) return slot.place;
  }
}

FlowTable::Place FlowTable::add(const FlowKey& key, uint8_t list, uint64_t now_ns) {
  if (size_ == flows_max_) return kNowhere;
  Place place = static_cast<Place>(pool_.size());
  if (unused_.empty()) {
    pool_.emplace_back();
  } else {
    place = unused_.back();
    unused_.pop_back();
  }
  ++size_;
  Record& record = pool_[place];
  static_cast<Flow&>(record) = {};
  record.key = key;
  record.hash = hash(key);
  size_t at = record.hash & slot_mask_;
  while (slots_[at].place != kNowhere) at = (at + 1) & slot_mask_;
  slots_[at] = {record.hash, place};
  link(place, list, now_ns);
  return place;
}

void FlowTable::erase(Place place) {
  unlink(place);
  erase_slot(place);
  pool_[place].number = 0;
  unused_.push_back(place);
  --size_;
}

// Linear probing without tombstones: what stands behind the hole moves up into it, unless it stands
// between its own first choice and the hole.
void FlowTable::erase_slot(Place place) {
  size_t hole = pool_[place].hash & slot_mask_;
  while (slots_[hole].place != place) {
    check(slots_[hole].place != kNowhere, "a record is in the index");
    hole = (hole + 1) & slot_mask_;
  }
  for (size_t at = (hole + 1) & slot_mask_; slots_[at].place != kNowhere;
       at = (at + 1) & slot_mask_) {
    const size_t home = slots_[at].hash & slot_mask_;
    if (((at - home) & slot_mask_) < ((at - hole) & slot_mask_)) continue;
    slots_[hole] = slots_[at];
    hole = at;
  }
  slots_[hole] = {0, kNowhere};
}

void FlowTable::move_to_end(Place place, uint8_t list, uint64_t now_ns) {
  unlink(place);
  link(place, list, now_ns);
}

void FlowTable::link(Place place, uint8_t list, uint64_t now_ns) {
  Record& record = pool_[place];
  List& ends = lists_[list];
  record.list = list;
  record.listed_ns = now_ns;
  record.previous = ends.last;
  record.next = kNowhere;
  (ends.last == kNowhere ? ends.first : pool_[ends.last].next) = place;
  ends.last = place;
}

void FlowTable::unlink(Place place) {
  const Record& record = pool_[place];
  List& ends = lists_[record.list];
  (record.previous == kNowhere ? ends.first : pool_[record.previous].next) = record.next;
  (record.next == kNowhere ? ends.last : pool_[record.next].previous) = record.previous;
}

}  // namespace netstack
