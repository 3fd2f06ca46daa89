// The forwarding database.
//
// What: a hash table with chains, whose entries are also threaded into two lists: one by age over
// the whole table, one by age for each port. Ports are ranked by how many stations they hold, one
// list of ports for each count. All links are indices into arrays of fixed size.
//
//   buckets_ ─► entry ─► entry           by_age_   longest silent ◄──────► heard last
//               (chain)                  port 3    longest silent ◄──► heard last
//                                        ranks_    [1] ports 2, 5   [2] port 3   ...
//
// Ageing needs no timer. lookup() ignores an entry that is too old, and each learn() removes at
// most kSweptPerLearn of them from the old end of by_age_. As a learn adds at most one entry, old
// entries always leave faster than new ones come, and a live station is evicted only when every
// entry is live.
//
// Eviction must not let one guest that invents addresses push out the stations of others, which
// would turn their traffic into floods that it can read. When the table is full, a port that holds
// its fair share (the limit divided by the ports that hold stations) pays for a new station with
// its own longest silent one. A port below its share takes the place of the longest silent station
// of the port that holds most; some port holds at least the average, so nobody is pushed below the
// fair share by others. Counts change by one at a time, so the port that holds most is found
// without searching: when the top rank empties, the next one below it is the top.
//
// The hash is ((a + high) * (b + low) + c), top bits, over the two halves of the key ("pair
// multiply-shift" in M. Thorup, High Speed Hashing for Integers and Strings). With secret a, b and
// c any two keys meet in a bucket with probability 1/buckets, whatever keys a guest chooses, so it
// cannot aim for long chains. It costs one multiplication; a lookup takes 6 ns, learning a known
// station 7 to 10, a new one in a full table 28 (bench/switch.cc, 2.6 GHz).
//
// Refused: random eviction (a flood still erodes others), a limit per port (most of the table lies
// idle when one port is an uplink), open addressing (deleting leaves marks that need rebuilding),
// a timer that walks the table (a pause that grows with the table).
//
// Limits: station_count_max entries of 40 bytes, 16 more for its moves, and twice as many buckets,
// port_count_max ports; about 0.7 MB with the defaults.
#include "vlan/fdb.h"

#include <algorithm>
#include <bit>

#include "netstack/base/check.h"

namespace vlan {

using netstack::check;
using netstack::Mac;
using netstack::PortId;

namespace {

constexpr int kSweptPerLearn = 2;

// SplitMix64: one seed becomes as many unrelated words as are asked for.
class SeedWords {
 public:
  explicit SeedWords(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9e37'79b9'7f4a'7c15U;
    uint64_t word = state_;
    word = (word ^ (word >> 30U)) * 0xbf58'476d'1ce4'e5b9U;
    word = (word ^ (word >> 27U)) * 0x94d0'49bb'1331'11ebU;
    return word ^ (word >> 31U);
  }

 private:
  uint64_t state_;
};

}  // namespace

Fdb::Fdb(const FdbConfig& config) : config_(config) {
  SeedWords words(config.seed);
  hash_factor_low_ = words.next();
  hash_factor_high_ = words.next();
  hash_addend_ = words.next();
  build();
  ports_.resize(size_t{config.port_count_max} + 1);
}

// The table is empty: gives it the memory that its limit asks for.
void Fdb::build() {
  const uint32_t limit = config_.station_count_max;
  check(limit >= 1 && limit <= kFdbStationsMax, "an FDB holds 1 to 16777216 stations");
  const size_t bucket_count = std::bit_ceil(size_t{2} * limit);
  hash_shift_ = 64U - static_cast<unsigned>(std::countr_zero(bucket_count));
  buckets_.assign(bucket_count, kNowhere);
  entries_.assign(limit, {});
  moves_.assign(limit, {});
  free_ = kNowhere;
  for (uint32_t at = limit; at-- > 0;) {
    entries_[at].next_in_bucket = free_;
    free_ = at;
  }
  ranks_.assign(size_t{limit} + 1, {});
}

Learned Fdb::learn(PortId port, const Mac& mac, uint16_t vid, uint64_t now_ns) {
  if (mac.is_group()) return Learned::kNothing;
  check(port < ports_.size(), "a port id is at most port_count_max");
  sweep(now_ns);
  const uint64_t key = key_of(mac, vid);
  const uint32_t at = find(key);
  if (at == kNowhere) [[unlikely]] {
    insert(port, key, now_ns);
    return Learned::kNew;
  }
  Entry& entry = entries_[at];
  entry.heard_ns = now_ns;
  by_age_.move_to_back(entries_, at);
  if (entry.port != port) [[unlikely]] {
    move(at, port);
    return Learned::kMoved;
  }
  ports_[port].stations.move_to_back(entries_, at);
  return Learned::kNothing;
}

std::optional<PortId> Fdb::lookup(const Mac& mac, uint16_t vid, uint64_t now_ns) const {
  const uint32_t at = find(key_of(mac, vid));
  if (at == kNowhere || !is_live(entries_[at], now_ns)) return std::nullopt;
  return entries_[at].port;
}

std::optional<Station> Fdb::find_station(const Mac& mac, uint16_t vid, uint64_t now_ns) const {
  const uint32_t at = find(key_of(mac, vid));
  if (at == kNowhere || !is_live(entries_[at], now_ns)) return std::nullopt;
  return describe(entries_[at], now_ns);
}

void Fdb::forget_port(PortId port) {
  check(port < ports_.size(), "a port id is at most port_count_max");
  while (!ports_[port].stations.empty()) remove(ports_[port].stations.front());
}

void Fdb::forget_port(PortId port, uint16_t vid) {
  check(port < ports_.size(), "a port id is at most port_count_max");
  uint32_t at = ports_[port].stations.front();
  while (at != kNowhere) {
    const uint32_t next = entries_[at].port_link.next;
    if (static_cast<uint16_t>(entries_[at].key) == vid) remove(at);
    at = next;
  }
}

void Fdb::flush() {
  while (!by_age_.empty()) remove(by_age_.front());
}

void Fdb::set_station_limit(uint32_t station_count_max) {
  flush();
  config_.station_count_max = station_count_max;
  build();
}

void Fdb::set_hash_size(uint32_t bucket_count) {
  hash_size_ = std::bit_ceil(std::clamp(bucket_count, 1U, kHashSizeMax));
  flush();
}

uint32_t Fdb::station_count(PortId port) const {
  return port < ports_.size() ? ports_[port].station_count : 0;
}

// The address in the upper 48 bits, the VID in the lower 16.
uint64_t Fdb::key_of(const Mac& mac, uint16_t vid) {
  const auto& octets = mac.octets;
  const uint64_t upper = uint64_t{octets[0]} << 16U | uint64_t{octets[1]} << 8U | octets[2];
  const uint64_t lower = uint64_t{octets[3]} << 16U | uint64_t{octets[4]} << 8U | octets[5];
  return upper << 40U | lower << 16U | vid;
}

Station Fdb::describe(const Entry& entry, uint64_t now_ns) const {
  Station station;
  for (unsigned at = 0; at < 6; ++at) {
    station.mac.octets[at] = static_cast<uint8_t>(entry.key >> (56 - 8 * at));
  }
  station.vid = static_cast<uint16_t>(entry.key);
  station.port = entry.port;
  station.age_ns = now_ns - entry.heard_ns;
  const Moves& moves = moves_[static_cast<size_t>(&entry - entries_.data())];
  station.move_count = moves.count;
  station.moved_from = moves.from;
  station.moved_ago_ns = moves.count == 0 ? 0 : now_ns - moves.at_ns;
  station.bucket = static_cast<uint32_t>(hash_of(entry.key) >> 32U) & (hash_size_ - 1);
  return station;
}

uint32_t Fdb::find(uint64_t key) const {
  uint32_t at = buckets_[bucket_of(key)];
  while (at != kNowhere && entries_[at].key != key) at = entries_[at].next_in_bucket;
  return at;
}

void Fdb::insert(PortId port, uint64_t key, uint64_t now_ns) {
  if (free_ == kNowhere) remove(choose_evicted(port));
  const uint32_t at = free_;
  Entry& entry = entries_[at];
  free_ = entry.next_in_bucket;
  ++station_count_;

  uint32_t& chain = buckets_[bucket_of(key)];
  entry.key = key;
  entry.heard_ns = now_ns;
  entry.next_in_bucket = chain;
  chain = at;
  by_age_.push_back(entries_, at);
  moves_[at] = {};
  give_to_port(at, port);
  if (watcher_ != nullptr) say_came(at);
}

void Fdb::move(uint32_t at, PortId port) {
  if (watcher_ != nullptr) say_left(at);
  moves_[at] = {moves_[at].count + 1, entries_[at].port, entries_[at].heard_ns};
  take_from_port(at);
  give_to_port(at, port);
  if (watcher_ != nullptr) say_came(at);
}

void Fdb::remove(uint32_t at) {
  if (watcher_ != nullptr) say_left(at);
  Entry& entry = entries_[at];
  take_from_port(at);
  by_age_.remove(entries_, at);
  uint32_t* link = &buckets_[bucket_of(entry.key)];
  while (*link != at) link = &entries_[*link].next_in_bucket;
  *link = entry.next_in_bucket;
  entry.next_in_bucket = free_;
  free_ = at;
  --station_count_;
}

void Fdb::sweep(uint64_t now_ns) {
  for (int swept = 0; swept < kSweptPerLearn; ++swept) {
    const uint32_t oldest = by_age_.front();
    if (oldest == kNowhere || is_live(entries_[oldest], now_ns)) return;
    remove(oldest);
  }
}

// The table is full, so some port holds a station and the top rank is not empty.
uint32_t Fdb::choose_evicted(PortId ingress) const {
  const uint32_t fair_share = std::max(1U, config_.station_count_max / holder_count_);
  const bool has_share = ports_[ingress].station_count >= fair_share;
  const PortId payer = has_share ? ingress : ranks_[rank_max_].front();
  return ports_[payer].stations.front();
}

void Fdb::give_to_port(uint32_t at, PortId port) {
  entries_[at].port = port;
  ports_[port].stations.push_back(entries_, at);
  set_station_count(port, ports_[port].station_count + 1);
}

void Fdb::take_from_port(uint32_t at) {
  const PortId port = entries_[at].port;
  ports_[port].stations.remove(entries_, at);
  set_station_count(port, ports_[port].station_count - 1);
}

// `count` is one more or one less than before. Ports without stations are in no rank.
void Fdb::set_station_count(PortId port, uint32_t count) {
  uint32_t& current = ports_[port].station_count;
  if (current > 0) ranks_[current].remove(ports_, port);
  if (count > 0) ranks_[count].push_back(ports_, port);
  if (current == 0) ++holder_count_;
  if (count == 0) --holder_count_;
  current = count;
  rank_max_ = std::max(rank_max_, count);
  if (rank_max_ > 0 && ranks_[rank_max_].empty()) --rank_max_;
}

void Fdb::say_came(uint32_t at) const {
  watcher_->station_came(describe(entries_[at], entries_[at].heard_ns));
}

void Fdb::say_left(uint32_t at) const {
  watcher_->station_left(describe(entries_[at], entries_[at].heard_ns));
}

}  // namespace vlan
