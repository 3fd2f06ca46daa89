// What guests ask of the gateway's own DHCP and DNS: messages of many guests against one lease
// table, over time. Checked: an address belongs to one guest, inside the pool; answers can be read
// and belong to what was asked.
//
//   configuration │ records: operation (low 2 bits), guest (the rest) │
//   kDhcp: mending (1), size (2), message; kQuery: size (1), message; kWait: time (1)
#include <map>
#include <set>
#include <string>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/names/dhcp_server.h"
#include "netstack/names/dns_message.h"
#include "netstack/names/lan_names.h"
#include "netstack/wire/dns.h"
#include "tests/fuzz/input.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Bytes;
using packets::ip;

namespace {

constexpr size_t kRecords_count = 128;  // of an input; the rest is not looked at
constexpr uint32_t kMagicCookie = 0x63825363;

enum class Operation : uint8_t { kDhcp, kQuery, kWait, kLook };

// How a message of the input is made one that is listened to.
enum Mending : uint8_t { kHead = 1, kCookie = 2, kMac = 4, kWholeAddress = 8 };

struct QuietLog final : Log {
  void line(std::string_view text) override {
    check(!text.empty() && text.find('\n') == std::string_view::npos, "a log line is one line");
  }
};

GatewayConfig config_of(uint8_t bits) {
  GatewayConfig config;
  if ((bits & 1U) != 0) config.network = GatewayNetwork::parse("192.168.9.0/27");  // 16 leases
  if ((bits & 2U) != 0) config.names.hosts.push_back(HostEntry::parse("db=10.0.2.20"));
  if ((bits & 4U) != 0) config.names.domain = "";
  if ((bits & 8U) != 0) config.names.mtu = 1400;
  if ((bits & 16U) != 0) config.names.search.push_back("corp.example");
  return config;
}

Mac guest_mac(uint8_t number) {
  Mac mac = packets::mac("52:54:00:00:00:00");
  mac.octets[5] = number;
  return mac;
}

class Life {
 public:
  explicit Life(uint8_t bits)
      : config_(config_of(bits)),
        leases_(config_.network, config_.names.leases),
        server_(config_, leases_, log_, clock_),
        names_(config_, leases_) {}

  void run(tests::Input& input) {
    for (size_t at = 0; at < kRecords_count && !input.empty(); ++at) step(input);
  }

 private:
  void step(tests::Input& input) {
    const uint8_t first = input.u8();
    const Mac guest = guest_mac(static_cast<uint8_t>(first >> 2U));
    switch (static_cast<Operation>(first & 3U)) {
      case Operation::kDhcp: {
        const uint8_t mending = input.u8();
        const auto bytes = input.bytes(input.u16());
        ask_dhcp({bytes.begin(), bytes.end()}, mending, guest);
        break;
      }
      case Operation::kQuery: {
        const uint8_t size = input.u8();
        ask_dns(input.bytes(size));
        break;
      }
      case Operation::kWait:
        clock_.advance_ns((uint64_t{input.u8()} << 6U) * kSecond_ns);
        break;
      case Operation::kLook:
        leases_.live_count(now_ns());
        break;
    }
    judge_leases();
  }

  void ask_dhcp(Bytes message, uint8_t mending, const Mac& guest) {
    if (message.size() < kDhcpHeadBytes && (mending & kHead) != 0) message.resize(kDhcpHeadBytes);
    if (message.size() >= kDhcpHeadBytes) mend(message, mending, guest);
    const auto asked = parse_dhcp(message);
    const auto reply = server_.answer(message, guest, PortId{guest.octets[5]} % 3);
    if (!reply) return;
    check(asked.has_value(), "only what can be read is answered");
    const auto said = parse_dhcp(reply->message);
    check(said && said->from_server && said->xid == asked->xid &&
              said->client_mac == asked->client_mac,
          "an answer belongs to its question");
    if (said->type == DhcpType::kOffer || said->type == DhcpType::kAck) {
      check(said->your_ip == IpAddress{} || said->your_ip == IpAddress::v4(0) ||
                config_.network.contains(said->your_ip),
            "an address that is given is of the network");
    }
  }
  void mend(Bytes& message, uint8_t mending, const Mac& guest) const {
    if ((mending & kHead) != 0) {
      message[0] = 1;
      message[1] = 1;
      message[2] = 6;
      write_u32(&message[24], 0);  // from no relay
    }
    if ((mending & kMac) != 0) std::copy_n(guest.octets.begin(), 6, &message[28]);
    if ((mending & kCookie) != 0) write_u32(&message[kDhcpHeadBytes - 4], kMagicCookie);
    const Lease* lease = (mending & kWholeAddress) != 0 ? leases_.find(guest) : nullptr;
    if (lease != nullptr) std::copy_n(lease->address.octets.begin(), 4, &message[12]);
  }

  void ask_dns(std::span<const uint8_t> message) {
    const auto query = parse_query(message);
    if (!query || query->refusal != 0) return;
    check(query->udp_bytes_max >= kDnsUdpBytesDefault && query->udp_bytes_max <= kDnsUdpBytesMax,
          "what a guest takes is within bounds");
    const auto question = dns_question(message);
    check(question.has_value(), "what is taken has a question");
    if (!query->internet) return;
    const auto known = names_.lookup(query->name, query->type, now_ns());
    if (!known) return;
    const Bytes answer = make_local_answer(message, *query, *known);
    const auto said = parse_dns(answer);
    check(said && said->response, "an answer of ours can be read");
    const auto same = dns_question(answer);
    check(same && same_dns_question(*same, *question), "and belongs to its question");
  }

  void judge_leases() const {
    std::set<IpAddress> given;
    std::map<PortId, size_t> taken;
    check(leases_.count() <= LeaseTable::kLeasesMax, "leases are bounded");
    leases_.for_each([&](const Lease& lease) {
      check(config_.network.contains(lease.address), "a lease is of the network");
      check(lease.address != config_.network.gateway() &&
                lease.address != config_.network.nameserver(),
            "the gateway's addresses are its own");
      check(given.insert(lease.address).second, "an address belongs to one guest");
      if (lease.taken) ++taken[lease.lan_port];
    });
    for (PortId port = 0; port < 3; ++port) {  // static leases are not counted, what is aside is
      check(leases_.taken_count(port) + config_.names.leases.size() >= taken[port],
            "what a port has taken is counted");
    }
  }
  uint64_t now_ns() { return clock_.monotonic_ns(); }

  ManualClock clock_;
  QuietLog log_;
  GatewayConfig config_;
  LeaseTable leases_;
  DhcpServer server_;
  LanNames names_;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  Life life(input.u8());
  life.run(input);
  return 0;
}
