#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/frame/mac.h"
#include "netstack/wire/ip_address.h"

namespace netstack {

// A whole frame, to everybody: who has `wanted`?
std::vector<uint8_t> make_arp_request(const Mac& mac, const IpAddress& own,
                                      const IpAddress& wanted);

// Where on the LAN a guest's address is: RFC 826 and RFC 4861 for the few addresses that forwards
// lead to. An address that nobody claims is asked for again and again, ever more rarely until some
// guest is heard, so a LAN without guests costs one small frame in 8 s and address.
//
// Beside libslirp's own table, which cannot be read, answers one address at a time, and asks only
// when there is a packet to send.
class Neighbours {
 public:
  static constexpr uint64_t kAskFirst_ns = kSecond_ns;  // between questions, doubling
  static constexpr uint64_t kAskRarest_ns = 8 * kSecond_ns;
  static constexpr uint64_t kDoubt_ns = kSecond_ns;  // for an answer; then the address is nobody's

  // The gateway's addresses, in whose name is asked, and the way out for a whole frame.
  struct Self {
    IpAddress address4;
    IpAddress address6;
    Mac mac4;
    Mac mac6;
  };
  using Send = std::function<void(std::span<const uint8_t> frame)>;

  Neighbours(const Self& self, Clock& clock, Send send)
      : self_(self), clock_(clock), send_(std::move(send)) {}

  // Counted: as many unwatch() as watch(). "::" stands for the first IPv6 guest that is heard.
  void watch(const IpAddress& address);
  void unwatch(const IpAddress& address);

  // ARP (from the Ethernet payload on) and neighbour discovery (a parsed one's source) of guests.
  // True: a watched address has been found, or has moved.
  bool hear_arp(std::span<const uint8_t> message);
  bool hear(const IpAddress& address, const Mac& mac);

  struct Place {
    IpAddress address;  // the one asked for, or what "::" stands for
    Mac mac;
  };
  std::optional<Place> find(const IpAddress& address) const;
  // Asks whether the address is still there: it is forgotten unless heard within kDoubt_ns.
  void doubt(const IpAddress& address);
  bool in_doubt(const IpAddress& address) const;

  // Asks what is due. Returns when to be called next; UINT64_MAX: there is nothing to ask.
  uint64_t ask_due();

 private:
  struct Entry {
    size_t watch_count = 0;
    std::optional<Place> place;
    uint64_t ask_at_ns = 0;   // without a place
    uint64_t doubted_ns = 0;  // 0: no
    uint64_t interval_ns = kAskFirst_ns;
  };

  void ask(const IpAddress& address) const;
  void ask_arp(const IpAddress& address) const;
  void ask_neighbour(const IpAddress& address) const;
  void ask_all_nodes() const;

  Self self_;
  Clock& clock_;
  Send send_;
  std::map<IpAddress, Entry> entries_;
};

}  // namespace netstack
