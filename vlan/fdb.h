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
constexpr uint32_t kFdbStationsMax = 1U << 24U;
constexpr uint64_t kAgingDefault_ns = 300 * netstack::kSecond_ns;  // IEEE 802.1Q-2018 table 8-6
constexpr uint32_t kHashSizeDefault = 128;                         // vde_switch's
constexpr uint32_t kHashSizeMax = 1U << 20U;

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
  uint32_t bucket = 0;  // where it would be in a hash table of hash_size() buckets
  // How often it has come from another port than before, since it was learned: two stations with
  // one address move at each other's every frame. With moves: from where to here, and how long ago.
  uint32_t move_count = 0;
  netstack::PortId moved_from = 0;
  uint64_t moved_ago_ns = 0;
};

enum class Learned : uint8_t { kNothing, kNew, kMoved };

// Is told what the table learns and forgets; a move is both. May read the table, never change it.
class StationWatcher {
 public:
  virtual ~StationWatcher() = default;
  virtual void station_came(const Station& station) noexcept = 0;  // age_ns is 0 in both
  virtual void station_left(const Station& station) noexcept = 0;
};

// What VDE's console sets and shows and this table has no use for: aging needs no garbage
// collector.
struct FdbDials {
  uint32_t gc_interval_s = 2;
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
  Learned learn(netstack::PortId port, const netstack::Mac& mac, uint16_t vid, uint64_t now_ns);

  // Empty: unknown, or silent for too long.
  std::optional<netstack::PortId> lookup(const netstack::Mac& mac, uint16_t vid,
                                         uint64_t now_ns) const;
  std::optional<Station> find_station(const netstack::Mac& mac, uint16_t vid,
                                      uint64_t now_ns) const;

  // These take time in proportion to the stations of the port, or of the table.
  void forget_port(netstack::PortId port);
  void forget_port(netstack::PortId port, uint16_t vid);
  void flush();

  void set_aging(uint64_t aging_ns) { config_.aging_ns = aging_ns; }
  void set_station_limit(uint32_t station_count_max);  // 1 to kFdbStationsMax; flushes
  // Rounded up to a power of two, at most kHashSizeMax; 0 counts as 1; flushes. VDE's number, which
  // only says where Station::bucket is: the table's own index has two buckets a station.
  void set_hash_size(uint32_t bucket_count);
  uint32_t hash_size() const { return hash_size_; }
  FdbDials& dials() { return dials_; }
  void watch(StationWatcher* watcher) { watcher_ = watcher; }  // borrowed; nullptr: none

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
  // Beside the entries and not in them: only a station that is new or moves touches this.
  struct Moves {
    uint32_t count = 0;
    netstack::PortId from = 0;
    uint64_t at_ns = 0;
  };
  struct PortRecord {
    IndexList<Entry, &Entry::port_link> stations;  // longest silent first
    uint32_t station_count = 0;
    Link rank_link;
  };

  static uint64_t key_of(const netstack::Mac& mac, uint16_t vid);
  Station describe(const Entry& entry, uint64_t now_ns) const;
  bool is_live(const Entry& entry, uint64_t now_ns) const {
    return now_ns - entry.heard_ns < config_.aging_ns;
  }
  void build();
  uint64_t hash_of(uint64_t key) const {
    const uint64_t low = key & 0xffff'ffffU;
    const uint64_t high = key >> 32U;
    return (hash_factor_high_ + high) * (hash_factor_low_ + low) + hash_addend_;
  }
  size_t bucket_of(uint64_t key) const { return hash_of(key) >> hash_shift_; }
  uint32_t find(uint64_t key) const;

  void insert(netstack::PortId port, uint64_t key, uint64_t now_ns);
  // Out of learn(), which it would slow down for all who stay: rare, and long with a watcher.
  [[gnu::noinline]] void move(uint32_t at, netstack::PortId port);
  void remove(uint32_t at);
  void sweep(uint64_t now_ns);
  uint32_t choose_evicted(netstack::PortId ingress) const;
  void give_to_port(uint32_t at, netstack::PortId port);
  void take_from_port(uint32_t at);
  void set_station_count(netstack::PortId port, uint32_t count);

  void say_came(uint32_t at) const;
  void say_left(uint32_t at) const;

  FdbConfig config_;
  FdbDials dials_;
  StationWatcher* watcher_ = nullptr;
  uint32_t hash_size_ = kHashSizeDefault;
  uint64_t hash_factor_low_, hash_factor_high_, hash_addend_;
  unsigned hash_shift_ = 0;
  std::vector<uint32_t> buckets_;  // first entry of each chain
  std::vector<Entry> entries_;
  std::vector<Moves> moves_;  // by entry
  uint32_t free_ = kNowhere;
  uint32_t station_count_ = 0;
  IndexList<Entry, &Entry::age_link> by_age_;  // longest silent first

  std::vector<PortRecord> ports_;                                     // by port id
  std::vector<IndexList<PortRecord, &PortRecord::rank_link>> ranks_;  // by station count
  uint32_t rank_max_ = 0;      // the most stations any port holds
  uint32_t holder_count_ = 0;  // ports that hold at least one station
};

}  // namespace vlan
