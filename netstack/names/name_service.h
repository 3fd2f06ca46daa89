#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netstack/base/counters.h"
#include "netstack/config/gateway_config.h"
#include "netstack/flows/guest_packet.h"
#include "netstack/names/address_probe.h"
#include "netstack/names/dhcp_server.h"
#include "netstack/names/dns_forwarder.h"
#include "netstack/names/dns_message.h"
#include "netstack/names/dns_stream.h"
#include "netstack/names/lan_names.h"
#include "netstack/names/resolv_conf.h"

namespace netstack {

struct DnsCounters {
  uint64_t queries = 0;
  uint64_t local = 0;      // answered from what the gateway knows
  uint64_t forwarded = 0;  // to nameservers; each becomes one of the next three
  uint64_t answered = 0;
  uint64_t failed = 0;   // no nameserver answered
  uint64_t evicted = 0;  // given up: too many were under way
  uint64_t refused = 0;  // malformed, of an unknown opcode, zone transfers
  uint64_t denied = 0;   // by the policy
};

// Names and addresses for the guests: DHCP, stateless DHCPv6, DNS.
//
//   UDP 67  ─► DhcpServer ◄─► LeaseTable ◄──────┐ names of guests
//   UDP 547 ─► (here)                           │
//   UDP 53  ─┬► parse_query ─► LanNames ────────┘ ─► the answer
//   TCP 53  ─┘ DnsStream          └ not ours ─► zones, ResolvConf ─► DnsForwarder ─► nameservers
//
// The gateway hands guests' packets in and takes whole IP packets out; libslirp meets none of this
// but the TCP under DnsStream.
class NameService {
 public:
  struct Output {
    std::function<void(const ReturnPath&, std::span<const uint8_t> packet)> send;
    std::function<void(DropReason)> drop;
    // Asks the LAN by ARP who has an address.
    std::function<void(const IpAddress&)> ask_who_has;
    // No nameserver answered. True: the guest has been told already; false: it gets SERVFAIL.
    std::function<bool(const DnsClient&, std::span<const uint8_t> query, const DnsFailure&)>
        on_failure;
    // Whether a name may be asked of nameservers; else the guest gets REFUSED.
    std::function<bool(const DnsClient&, const std::string& name)> may_ask;
    // A nameserver answered, whichever way.
    std::function<void(const DnsClient&, std::span<const uint8_t> message)> on_answered;
    // A guest gets this message as the answer to its question.
    std::function<void(const DnsClient&, std::span<const uint8_t> message)> on_told;
  };

  // `mac` and `mac6` are the gateway's, by which its packets come. Throws Error.
  NameService(Loop& loop, const GatewayConfig& config, const Mac& mac, const Mac& mac6, Log& log,
              Output output);

  // A guest's UDP packet with a whole UDP header. True: it was for one of these services and needs
  // nothing more. `lan_port`, here and below: of the switch, by which it came; 0: nobody knows.
  bool take(const GuestPacket& packet, PortId lan_port);

  // A guest says, or shows, that it has an IPv4 address.
  void hear_address(const IpAddress& address, const Mac& mac, PortId lan_port);
  // Nobody is at that port any more.
  void leave(PortId lan_port) { leases_.leave(lan_port); }

  // A guest's whole TCP packet to the DNS address, on its way to libslirp. False: there is no
  // socket for it, and the packet is as it was.
  bool redirect(const GuestPacket& packet, bool opening);

  // A frame of libslirp's on its way to a guest, as the guest is to see it: valid until the next
  // call, and as long as `frame`.
  std::span<const uint8_t> reword(std::span<const uint8_t> frame);

  const LeaseTable& leases() const { return leases_; }
  void watch_leases(LeaseWatcher watcher) { dhcp_.watch(std::move(watcher)); }
  const DhcpCounters& dhcp_counters() const { return dhcp_.counters(); }
  const DnsCounters& dns_counters() const { return dns_; }
  uint64_t forged_count() const { return forwarder_.forged_count(); }  // answers nobody asked for

 private:
  static constexpr size_t kQuotedBytesMax = 128;       // of a query, for an ICMP error
  static constexpr uint32_t kRefreshSeconds = 86'400;  // of what stateless DHCPv6 and RAs tell
  static constexpr size_t kMtuDefault = 1500;
  // Addresses found in use for one message of a guest's; then it has to ask again.
  static constexpr int kTriesMax = 16;

  bool is_dns(const IpAddress& address) const;
  void take_dhcp(const ReturnPath& path, PortId lan_port, std::span<const uint8_t> payload,
                 int tries = 0);
  void on_probe_end(const AddressProbe::Question& question, const std::optional<Mac>& holder);
  void take_dhcpv6(const GuestPacket& packet, std::span<const uint8_t> payload, uint16_t port);
  void take_query(const GuestPacket& packet, const Udp& udp);
  void answer_query(const DnsClient& client, std::span<const uint8_t> query);
  void respond(const DnsClient& client, std::span<const uint8_t> message);
  void send(const ReturnPath& path, std::vector<uint8_t> packet);
  bool reword_advertisement(std::span<const uint8_t> message);
  size_t mtu() const { return names_.mtu != 0 ? names_.mtu : kMtuDefault; }

  Loop& loop_;
  Output output_;
  GatewayNetwork network_;
  bool leasing_;
  bool ipv6_;
  bool restricted_;
  NamesConfig names_;
  Mac mac_;
  Mac mac6_;
  std::vector<uint8_t> search_;
  std::vector<uint8_t> duid_;
  LeaseTable leases_;
  DhcpServer dhcp_;
  AddressProbe probe_;
  LanNames lan_;
  ResolvConf resolv_conf_;
  DnsForwarder forwarder_;
  DnsStream stream_;
  DnsCounters dns_;
  std::vector<uint8_t> reworded_;
  uint16_t ip_id_ = 0;
};

}  // namespace netstack
