#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/frame/mac.h"
#include "netstack/frame/port.h"
#include "vlan/index_list.h"

namespace vlan {

constexpr uint32_t kFdbStationsDefault = 8192;
constexpr uint32_t kFdbPortsDefault = 4096;
constexpr uint64_t kAgingDefault_ns = 300 * netstack::kSecond_ns;  // IEEE 802.1Q-2018 table 8-6

struct FdbConfig {
  // A running switch takes a seed nobody can guess; a test takes a fixed one.
  explicit FdbConfig(uint64_t hash_seed) : seed(hash_seed) {}

  uint64_t seed;
  uint32_t station_count_max = kFdbStationsDefault;  // at least 1
  uint32_t port_count_max = kFdbPortsDefault;        // port ids run from 1 to this
  uint64_t aging_ns = kAgingDefault_ns;              // a station silent for this long is unknown
};

// One thing the table knows, as for_each() tells it.
struct Station {
  netstack::Mac mac;
  uint16_t vid = 0;
  netstack::PortId port = 0;
  uint64_t age_ns = 0;  // since the last frame from it
};

// The forwarding database (IEEE 802.1Q-2018 §8.8): behind which port is a station? Stations are
// kept per VLAN (independent learning): the key is the MAC address and the outer VID. All memory is
// allocated by the constructor; learn() and lookup() take constant time. `now_ns` is a monotonic
// time and never steps back. How it ages and who is evicted is told in fdb.cc.
class Fdb {
 public:
  explicit Fdb(const FdbConfig& config);

  // Remembers that `mac` was heard in `vid` behind `port`, or that it is still there, or that it
  // has moved there just now. Group addresses are never learned (§8.7). `vid` is 0 to 4095.
  void learn(netstack::PortId port, const netstack::Mac& mac, uint16_t vid, uint64_t now_ns);

  // Empty: unknown, or silent for too long.
  std::optional<netstack::PortId> lookup(const netstack::Mac& mac, uint16_t vid,
                                         uint64_t now_ns) const;

  void forget_port(netstack::PortId port);  // takes time in proportion to its stations

  // Stations held, with those that are too old but have not been swept out yet.
  uint32_t station_count() const { return station_count_; }
  uint32_t station_count(netstack::PortId port) const;
  const FdbConfig& config() const { return config_; }

  // Calls visit(const Station&) for every live station, longest silent first.
  template <class Visit>
  void for_each(uint64_t now_ns, Visit&& visit) const {
    for (uint32_t at = by_age_.front(); at != kNowhere; at = entries_[at].age_link.next) {
      if (is_live(entries_[at], now_ns)) visit(describe(entries_[at], now_ns));
    }
  }

 private:
  struct Entry {
    uint64_t key = 0;
    uint64_t heard_ns = 0;
    netstack::PortId port = 0;
    uint32_t next_in_bucket = kNowhere;  // or the next free entry
    Link age_link;
    Link port_link;
  };
  struct PortRecord {
    IndexList<Entry, &Entry::port_link> stations;  // longest silent first
    uint32_t station_count = 0;
    Link rank_link;
  };

  static uint64_t key_of(const netstack::Mac& mac, uint16_t vid);
  static Station describe(const Entry& entry, uint64_t now_ns);
  bool is_live(const Entry& entry, uint64_t now_ns) const {
    return now_ns - entry.heard_ns < config_.aging_ns;
  }
  size_t bucket_of(uint64_t key) const;
  uint32_t find(uint64_t key) const;

  void insert(netstack::PortId port, uint64_t key, uint64_t now_ns);
  void refresh(uint32_t at, netstack::PortId port, uint64_t now_ns);
  void remove(uint32_t at);
  void sweep(uint64_t now_ns);
  uint32_t choose_evicted(netstack::PortId ingress) const;
  void give_to_port(uint32_t at, netstack::PortId port);
  void take_from_port(uint32_t at);
  void set_station_count(netstack::PortId port, uint32_t count);

  FdbConfig config_;
  uint64_t hash_factor_low_, hash_factor_high_, hash_addend_;
  unsigned hash_shift_ = 0;
  std::vector<uint32_t> buckets_;  // first entry of each chain
  std::vector<Entry> entries_;
  uint32_t free_ = kNowhere;
  uint32_t station_count_ = 0;
  IndexList<Entry, &Entry::age_link> by_age_;  // longest silent first

  std::vector<PortRecord> ports_;                                     // by port id
  std::vector<IndexList<PortRecord, &PortRecord::rank_link>> ranks_;  // by station count
  uint32_t rank_max_ = 0;      // the most stations any port holds
  uint32_t holder_count_ = 0;  // ports that hold at least one station
};

}  // namespace vlan
