#include "netstack/names/dns_forwarder.h"

#include <algorithm>
#include <map>
#include <utility>

#include "netstack/wire/dns.h"

namespace netstack {

namespace {

constexpr size_t kSilentServersMax = 64;  // remembered; more are forgotten together
constexpr uint8_t kTruncatedBit = 0x02;   // of the third byte, RFC 1035 §4.1.1
constexpr uint8_t kCodeMask = 0x0f;       // of the fourth

// Answers that say nothing of the name, only of the server.
bool is_servers_failure(uint8_t rcode) {
  return rcode == kDnsServerFailure || rcode == kDnsRefused || rcode == kDnsNotImplemented ||
         rcode == kDnsFormatError;
}

}  // namespace

DnsForwarder::~DnsForwarder() {
  for (const Pending& pending : pending_) loop_.cancel(pending.timer);
}

void DnsForwarder::ask(DnsClient client, std::vector<uint8_t> query,
                       std::vector<DnsServer> servers) {
  if (is_under_way(client, query)) return;  // the guest repeats itself; the answer will come
  if (servers.empty()) return handler_.on_failure(client, query, {});
  if (pending_.size() >= kPendingMax) make_room();
  if (servers.size() > kServersMax) servers.resize(kServersMax);
  order(servers);
  pending_.emplace_back();
  const Entry entry = std::prev(pending_.end());
  entry->client = std::move(client);
  entry->query = std::move(query);
  entry->servers = std::move(servers);
  entry->attempts.resize(entry->servers.size());
  entry->began_ns = loop_.clock().monotonic_ns();
  advance(entry);
}

bool DnsForwarder::is_under_way(const DnsClient& client, std::span<const uint8_t> query) const {
  return std::ranges::any_of(pending_, [&](const Pending& pending) {
    const DnsClient& other = pending.client;
    return other.connection == client.connection && other.guest == client.guest &&
           other.port == client.port && other.asked == client.asked &&
           std::ranges::equal(pending.query, query);
  });
}

void DnsForwarder::make_room() {
  std::map<IpAddress, size_t> counts;
  for (const Pending& pending : pending_) ++counts[pending.client.guest];
  const auto most =
      std::ranges::max_element(counts, {}, [](const auto& count) { return count.second; });
  const auto victim = std::ranges::find_if(
      pending_, [&](const Pending& pending) { return pending.client.guest == most->first; });
  const Pending given_up = take_out(victim);
  handler_.on_evicted(given_up.client, given_up.query);
}

void DnsForwarder::order(std::vector<DnsServer>& servers) {
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  std::stable_partition(servers.begin(), servers.end(), [&](const DnsServer& server) {
    const auto found = silent_until_ns_.find({server.address, server.port});
    return found == silent_until_ns_.end() || found->second <= now_ns;
  });
}

// On to the next server, if there is one; to the end, if nothing is left to wait for.
void DnsForwarder::advance(Entry entry) {
  if (start_next(entry)) return arm(entry);
  const bool waiting = std::ranges::any_of(
      entry->attempts, [](const Attempt& attempt) { return attempt.exchange != nullptr; });
  if (!waiting) conclude(entry);
}

bool DnsForwarder::start_next(Entry entry) {
  while (entry->next < entry->servers.size()) {
    const size_t index = entry->next++;
    if (entry->client.over_tcp() && start(entry, index, Way::kTcp)) return true;
    if (start(entry, index, Way::kUdp)) return true;
  }
  return false;
}

bool DnsForwarder::start(Entry entry, size_t index, Way way) {
  Attempt& attempt = entry->attempts[index];
  (way == Way::kTcp ? attempt.over_tcp : attempt.over_udp) = true;
  auto exchange =
      std::make_unique<DnsExchange>(loop_, entry->servers[index], way, entry->query, forged_count_);
  attempt.errno_value = exchange->start(
      [this, entry, index](ExchangeResult result) { on_done(entry, index, std::move(result)); });
  if (attempt.errno_value != 0) return false;
  attempt.exchange = std::move(exchange);
  return true;
}

void DnsForwarder::arm(Entry entry) {
  loop_.cancel(entry->timer);
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  entry->timer = loop_.at(std::min(now_ns + kTry_ns, entry->began_ns + kQuery_ns_max),
                          [this, entry] { on_timer(entry); });
}

// Whoever was asked has let its time pass.
void DnsForwarder::on_timer(Entry entry) {
  for (size_t at = 0; at < entry->attempts.size(); ++at) {
    if (entry->attempts[at].exchange) remember_silence(entry->servers[at]);
  }
  if (loop_.clock().monotonic_ns() >= entry->began_ns + kQuery_ns_max) return conclude(entry);
  if (!start_next(entry)) {
    for (Attempt& attempt : entry->attempts) {
      if (attempt.exchange) attempt.exchange->resend();
    }
  }
  arm(entry);
}

void DnsForwarder::on_done(Entry entry, size_t index, ExchangeResult result) {
  Attempt& attempt = entry->attempts[index];
  const Way way = attempt.exchange->way();
  attempt.exchange.reset();
  if (result.errno_value != 0) return on_refused(entry, index, way, result.errno_value);
  silent_until_ns_.erase({entry->servers[index].address, entry->servers[index].port});
  on_message(entry, index, way, std::move(result.message));
}

void DnsForwarder::on_refused(Entry entry, size_t index, Way way, int errno_value) {
  Attempt& attempt = entry->attempts[index];
  if (way == Way::kTcp) {
    if (!entry->truncated.empty()) return deliver(entry, std::move(entry->truncated));
    if (!attempt.over_udp && start(entry, index, Way::kUdp)) return;
  }
  attempt.errno_value = errno_value;
  advance(entry);
}

void DnsForwarder::on_message(Entry entry, size_t index, Way way, std::vector<uint8_t> message) {
  if (is_servers_failure(message[3] & kCodeMask)) {
    entry->failed_answer = std::move(message);
    return advance(entry);
  }
  const bool truncated = (message[2] & kTruncatedBit) != 0 && way == Way::kUdp;
  if (!truncated) {
    const DnsClient& client = entry->client;
    const bool fits = client.over_tcp() || message.size() <= client.udp_bytes_max;
    if (!fits && !entry->truncated.empty()) message = std::move(entry->truncated);
    return deliver(entry, std::move(message));
  }
  entry->truncated = std::move(message);
  if (!entry->attempts[index].over_tcp && start(entry, index, Way::kTcp)) return;
  deliver(entry, std::move(entry->truncated));
}

void DnsForwarder::deliver(Entry entry, std::vector<uint8_t> message) {
  const Pending done = take_out(entry);
  handler_.on_answer(done.client, message);
}

void DnsForwarder::conclude(Entry entry) {
  if (!entry->truncated.empty()) return deliver(entry, std::move(entry->truncated));
  if (!entry->failed_answer.empty()) return deliver(entry, std::move(entry->failed_answer));
  const DnsFailure why = failure(*entry);
  const Pending done = take_out(entry);
  handler_.on_failure(done.client, done.query, why);
}

// Silence says most: a server that refuses is at least known to be wrong.
DnsFailure DnsForwarder::failure(const Pending& pending) const {
  DnsFailure why;
  why.waited_ns = loop_.clock().monotonic_ns() - pending.began_ns;
  const auto silent = std::ranges::find_if(
      pending.attempts, [](const Attempt& attempt) { return attempt.errno_value == 0; });
  const auto index =
      static_cast<size_t>(silent == pending.attempts.end() ? 0 : silent - pending.attempts.begin());
  why.server = pending.servers[index];
  why.errno_value = pending.attempts[index].errno_value;
  return why;
}

// Out of the list before any handler is called: a handler may ask again.
DnsForwarder::Pending DnsForwarder::take_out(Entry entry) {
  loop_.cancel(entry->timer);
  Pending pending = std::move(*entry);
  pending_.erase(entry);
  pending.attempts.clear();
  return pending;
}

void DnsForwarder::forget_connection(uint64_t connection) {
  for (auto at = pending_.begin(); at != pending_.end();) {
    const auto entry = at++;
    if (entry->client.connection == connection) take_out(entry);
  }
}

void DnsForwarder::remember_silence(const DnsServer& server) {
  if (silent_until_ns_.size() >= kSilentServersMax) silent_until_ns_.clear();
  silent_until_ns_[{server.address, server.port}] = loop_.clock().monotonic_ns() + kSilent_ns;
}

}  // namespace netstack
