#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "netstack/base/fd.h"
#include "netstack/config/names_config.h"
#include "netstack/loop/loop.h"

namespace netstack {

// What became of one question to one server.
struct ExchangeResult {
  int errno_value = 0;           // not 0: the host or the server refused; `message` is empty
  std::vector<uint8_t> message;  // the answer, with the id of the question as it was given to us
};

// One question to one nameserver, over UDP or TCP, on a socket of its own: connected, so the kernel
// lets in nothing but that server's packets, from a port of the kernel's choice (random), with a
// random id. An answer counts only if id and question are those that were asked; everything else is
// passed over and counted. There is no timer here: who asks decides when it has waited long enough.
class DnsExchange {
 public:
  enum class Way : uint8_t { kUdp, kTcp };
  using Handler = std::function<void(ExchangeResult)>;  // may destroy the exchange

  DnsExchange(Loop& loop, const DnsServer& server, Way way, std::span<const uint8_t> query,
              uint64_t& forged_count);
  ~DnsExchange();
  DnsExchange(const DnsExchange&) = delete;
  DnsExchange& operator=(const DnsExchange&) = delete;

  // 0, or the errno with which the host refused; then on_done is not called.
  int start(Handler on_done);
  void resend();  // UDP: the same question once more; TCP repeats by itself

  Way way() const { return way_; }

 private:
  static constexpr int kDatagramsPerTick = 16;
  static constexpr size_t kLengthBytes = 2;  // in front of each message over TCP, RFC 1035 §4.2.2

  int open();
  void on_ready();
  void read_datagrams();
  void write_stream();
  void read_stream();
  bool is_answer(std::span<const uint8_t> message);
  void finish(int errno_value, std::span<const uint8_t> message);

  Loop& loop_;
  DnsServer server_;
  Way way_;
  uint64_t& forged_count_;
  Handler on_done_;
  Fd socket_;
  uint16_t guests_id_;
  std::vector<uint8_t> query_;  // with our id
  size_t written_ = 0;          // of length and query, over TCP
  std::vector<uint8_t> read_;   // over TCP
};

}  // namespace netstack
