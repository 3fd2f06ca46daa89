#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "netstack/flows/flow.h"

namespace netstack {

// Records of flows, found by their key: a pool of fixed places, an open-addressed index of place
// numbers, and lists through the pool, so that a known flow costs a hash and one or two cache lines
// and nothing is allocated for it.
//
// The hash is seeded per table: a guest that chooses addresses and ports cannot make them collide.
// The index is twice the pool's size, so probing stays short whatever is in it.
class FlowTable {
 public:
  static constexpr size_t kLists_count = 10;
  using Place = uint32_t;
  static constexpr Place kNowhere = UINT32_MAX;

  struct Record : Flow {
    uint64_t listed_ns = 0;  // when it went to the end of its list
    uint32_t hash = 0;
    Place previous = kNowhere;
    Place next = kNowhere;
    uint8_t list = 0;
  };

  explicit FlowTable(size_t flows_max);

  Place find(const FlowKey& key) const;
  // A fresh record at the end of `list`, its flow empty but for the key. kNowhere: the pool is
  // full.
  Place add(const FlowKey& key, uint8_t list, uint64_t now_ns);
  void erase(Place place);
  void move_to_end(Place place, uint8_t list, uint64_t now_ns);
  Place first(uint8_t list) const { return lists_[list].first; }
  // Every record has a place below this. A place that is not in use has a flow without a number.
  Place places_end() const { return static_cast<Place>(pool_.size()); }

  // Of a flow that is in here.
  Place place_of(const Flow& flow) const {
    return static_cast<Place>(static_cast<const Record*>(&flow) - pool_.data());
  }
  Record& at(Place place) { return pool_[place]; }
  const Record& at(Place place) const { return pool_[place]; }
  size_t size() const { return size_; }
  size_t capacity() const { return flows_max_; }

 private:
  struct Slot {
    uint32_t hash;
    Place place;  // kNowhere: empty
  };
  struct List {
    Place first = kNowhere;
    Place last = kNowhere;
  };

  uint32_t hash(const FlowKey& key) const;
  void link(Place place, uint8_t list, uint64_t now_ns);
  void unlink(Place place);
  void erase_slot(Place place);

  size_t flows_max_;
  size_t size_ = 0;
  uint64_t seed_[2];
  std::vector<Record> pool_;  // grows as far as it was ever needed
  std::vector<Place> unused_;
  std::vector<Slot> slots_;
  size_t slot_mask_;
  std::array<List, kLists_count> lists_;
};

}  // namespace netstack
