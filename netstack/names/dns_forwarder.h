#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "netstack/flows/guest_packet.h"
#include "netstack/loop/loop.h"
#include "netstack/names/dns_exchange.h"

namespace netstack {

// Who asked, and what the answer has to look like.
struct DnsClient {
  uint64_t connection = 0;  // over TCP; 0: over UDP, and the next three count
  ReturnPath path;
  uint16_t port = 0;            // the guest's
  std::vector<uint8_t> quoted;  // the start of the query's IP packet
  uint16_t udp_bytes_max = 0;   // of the answer
  IpAddress guest;
  IpAddress asked;  // the gateway's address that was asked

  bool over_tcp() const { return connection != 0; }
};

// Why there is no answer.
struct DnsFailure {
  std::optional<DnsServer> server;  // of whom this is said; nothing: there was nobody to ask
  int errno_value = 0;              // 0: it did not answer
  uint64_t waited_ns = 0;
};

// Takes questions to the host's nameservers, several if need be.
//
//   ask ─► server 1 ──kTry_ns──► server 2 ──kTry_ns──► … all asked: once more ──► kQuery_ns_max
//             │ refused, SERVFAIL: the next one at once              any answer counts until then
//             └ truncated: the same server over TCP
//
// A server that was silent goes to the end of the queue for kSilent_ns, so that one dead server
// costs one query its delay and not each of them. Over TCP a server is asked when the guest asks
// so, and by UDP where it has no TCP. The best of the failures (a SERVFAIL of a server) is passed
// on when nothing better came; a truncated answer is when the whole one would not fit anyway.
//
// When kPendingMax questions are under way, the guest with most of them loses its oldest: one that
// asks without end crowds out itself.
class DnsForwarder {
 public:
  static constexpr size_t kPendingMax = 128;
  static constexpr size_t kServersMax = 8;  // asked for one question
  static constexpr uint64_t kTry_ns = kSecond_ns;
  static constexpr uint64_t kQuery_ns_max = 4500 * kMillisecond_ns;  // C libraries wait 5 s
  static constexpr uint64_t kSilent_ns = 30 * kSecond_ns;

  struct Handler {
    std::function<void(const DnsClient&, std::span<const uint8_t> message)> on_answer;
    std::function<void(const DnsClient&, std::span<const uint8_t> query, const DnsFailure&)>
        on_failure;
    // Given up for another question, or because a table was full.
    std::function<void(const DnsClient&, std::span<const uint8_t> query)> on_evicted;
  };

  DnsForwarder(Loop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {}
  ~DnsForwarder();
  DnsForwarder(const DnsForwarder&) = delete;
  DnsForwarder& operator=(const DnsForwarder&) = delete;

  // Takes `query`, which parse_query() has passed, to `servers`, the best one first. A handler may
  // be called before this returns.
  void ask(DnsClient client, std::vector<uint8_t> query, std::vector<DnsServer> servers);
  void forget_connection(uint64_t connection);  // of guests over TCP: their questions end

  size_t pending_count() const { return pending_.size(); }
  uint64_t forged_count() const { return forged_count_; }

 private:
  using Way = DnsExchange::Way;
  struct Attempt {
    std::unique_ptr<DnsExchange> exchange;  // null: not begun, or over
    int errno_value = 0;
    bool over_tcp = false;  // has been tried
    bool over_udp = false;
  };
  struct Pending {
    DnsClient client;
    std::vector<uint8_t> query;
    std::vector<DnsServer> servers;  // in the order they are asked
    std::vector<Attempt> attempts;   // of the same index
    size_t next = 0;                 // server to begin with
    uint64_t began_ns = 0;
    Loop::TimerId timer = 0;
    std::vector<uint8_t> failed_answer;  // SERVFAIL and the like
    std::vector<uint8_t> truncated;
  };
  using Entry = std::list<Pending>::iterator;

  bool is_under_way(const DnsClient& client, std::span<const uint8_t> query) const;
  void make_room();
  void order(std::vector<DnsServer>& servers);
  void advance(Entry entry);
  bool start_next(Entry entry);
  bool start(Entry entry, size_t index, Way way);
  void arm(Entry entry);
  void on_timer(Entry entry);
  void on_done(Entry entry, size_t index, ExchangeResult result);
  void on_refused(Entry entry, size_t index, Way way, int errno_value);
  void on_message(Entry entry, size_t index, Way way, std::vector<uint8_t> message);
  void deliver(Entry entry, std::vector<uint8_t> message);
  void conclude(Entry entry);
  DnsFailure failure(const Pending& pending) const;
  Pending take_out(Entry entry);
  void remember_silence(const DnsServer& server);

  Loop& loop_;
  Handler handler_;
  std::list<Pending> pending_;  // oldest first
  std::map<std::pair<IpAddress, uint16_t>, uint64_t> silent_until_ns_;
  uint64_t forged_count_ = 0;
};

}  // namespace netstack
