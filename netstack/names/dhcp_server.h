#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netstack/base/log_throttle.h"
#include "netstack/names/lease_table.h"
#include "netstack/wire/dhcp.h"

namespace netstack {

struct DhcpCounters {
  uint64_t offers = 0;
  uint64_t acks = 0;
  uint64_t naks = 0;
  uint64_t releases = 0;
  uint64_t declines = 0;
  uint64_t informs = 0;
  uint64_t malformed = 0;   // no DHCP message of a client, or one that contradicts itself
  uint64_t ignored = 0;     // for another server, from a relay, of an unknown type
  uint64_t exhausted = 0;   // no address left for who asked
  uint64_t over_limit = 0;  // none for who asked: its port of the switch has its share
  uint64_t conflicts = 0;   // addresses that another machine answered for, before an offer
};

// What became of a guest's lease, or of its wish for one.
struct LeaseEvent {
  enum class Kind : uint8_t {
    kGiven,
    kRenewed,    // the same address again, before its lease ended
    kReleased,   // the guest gave it back
    kDeclined,   // the guest found another machine at the address
    kRefused,    // the guest asked for an address that it cannot have
    kExhausted,  // none was left for its port; there is no address
  };
  Kind kind;
  Mac mac;
  IpAddress address;
  std::string_view name;  // of the guest; often empty
};
using LeaseWatcher = std::function<void(const LeaseEvent&)>;

struct DhcpReply {
  std::vector<uint8_t> message;  // the UDP payload, to port 68
  IpAddress destination;         // 255.255.255.255 or the client's
  Mac mac;                       // of the frame: the client's, or broadcast
};

// DHCP for the guests: RFC 2131, RFC 2132. The only server of the LAN and therefore authoritative:
// a guest that remembers an address nobody has gets it, also from a gateway that started a moment
// ago; one that remembers an address of another network is told so at once (NAK) and begins anew.
// No frames and no sockets here: a message comes in, a message or nothing goes out.
class DhcpServer {
 public:
  DhcpServer(const GatewayConfig& config, LeaseTable& leases, Log& log, Clock& clock);

  // `payload` is what a client sent to port 67, `sender` the source address of its frame,
  // `lan_port` the port of the switch by which it came (0: nobody knows).
  std::optional<DhcpReply> answer(std::span<const uint8_t> payload, const Mac& sender,
                                  PortId lan_port);

  // The address that an answer to this message would give to a guest not known to have it: whether
  // another has it is to be asked first. It is held for the guest meanwhile.
  std::optional<IpAddress> unproven(std::span<const uint8_t> payload, const Mac& sender,
                                    PortId lan_port);
  // `holder` has the address that was about to be given to `asker`.
  void note_conflict(const Mac& asker, const IpAddress& address, const Mac& holder);
  // `holder` says so of more addresses than one guest, or its port, may have: it is not believed.
  void note_disbelief(const Mac& asker, const IpAddress& address, const Mac& holder);

  const DhcpCounters& counters() const { return counters_; }
  // Told as it happens, while a frame is under way: the watcher may look and must not change.
  void watch(LeaseWatcher watcher) { watcher_ = std::move(watcher); }

 private:
  using Answer = std::optional<DhcpReply>;

  Answer on_discover(const Dhcp& request, PortId lan_port);
  Answer on_request(const Dhcp& request, PortId lan_port);
  Answer on_inform(const Dhcp& request);
  void on_decline(const Dhcp& request);
  void on_release(const Dhcp& request);

  Answer grant(const Dhcp& request, const IpAddress& address, PortId lan_port);
  Answer refuse(const Dhcp& request, const IpAddress& address, std::string_view why);
  Answer reply(const Dhcp& request, DhcpType type, const IpAddress& address);
  void fill_network(Dhcp& out) const;
  void fill_name(const Dhcp& request, const std::string& name, Dhcp& out);
  void take_name(const Mac& mac, const Dhcp& request);
  std::string configured_name(const IpAddress& address) const;
  std::string full_name(const std::string& name) const;
  bool is_for_another(const Dhcp& request) const;
  void say_none_left(const Mac& mac, PortId lan_port);
  void tell(LeaseEvent::Kind kind, const Mac& mac, const IpAddress& address) const;

  GatewayNetwork network_;
  NamesConfig names_;
  bool restricted_;
  std::vector<uint8_t> search_;
  LeaseTable& leases_;
  Clock& clock_;
  LogThrottle log_;
  LogThrottle over_limit_log_;  // of its own: whoever causes these lines does not tire
  DhcpCounters counters_;
  LeaseWatcher watcher_;
  std::vector<uint8_t> fqdn_;  // of the reply being written
};

// The name a client goes by: option 81 before option 12, its first label. Nothing: none, or one
// that cannot be a host's.
std::optional<std::string> client_name(const Dhcp& request);

}  // namespace netstack
