// Every message the gateway reads, one to an input: what is read lies within the message, and what
// is written from it reads the same.
//
//   kind │ for kRouter: announcement (1) │ message
#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "netstack/base/check.h"
#include "netstack/config/host_name.h"
#include "netstack/wire/arp.h"
#include "netstack/wire/dhcp.h"
#include "netstack/wire/dhcpv6.h"
#include "netstack/wire/dns.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/ndp.h"
#include "netstack/wire/router_advertisement.h"
#include "netstack/wire/tcp.h"
#include "netstack/wire/udp.h"
#include "tests/fuzz/input.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Bytes;
using packets::ip;
using Message = std::span<const uint8_t>;

namespace {

void expect_within(Message view, Message message) {
  if (view.empty()) return;
  check(
      view.data() >= message.data() && view.data() + view.size() <= message.data() + message.size(),
      "a view lies within its message");
}

void expect_within(std::string_view view, Message message) {
  expect_within({reinterpret_cast<const uint8_t*>(view.data()), view.size()}, message);
}

void read_arp(tests::Input& input) {
  const Message message = input.rest();
  const auto arp = parse_arp(message);
  if (!arp) return;
  std::array<uint8_t, kArpBytes> written{};
  write_arp(*arp, written.data());
  check(std::ranges::equal(written, message.first(kArpBytes)), "ARP is written as it was read");
}

void read_ndp(tests::Input& input) {
  const auto ndp = parse_ndp(input.rest());
  if (!ndp) return;
  Bytes written(kNdpHeadBytes + kNdpLinkLayerOptionBytes);
  written.resize(write_ndp(*ndp, written.data()));
  const auto again = parse_ndp(written);
  check(again && again->target == ndp->target && again->link_layer == ndp->link_layer &&
            again->advertisement == ndp->advertisement,
        "NDP reads as it was written");
  check(!ndp->advertisement ||
            (again->from_router == ndp->from_router && again->solicited == ndp->solicited &&
             again->overriding == ndp->overriding),
        "and so do its flags");
}

void read_echo(tests::Input& input) {
  const Message message = input.rest();
  for (const bool v6 : {false, true}) {
    const auto echo = parse_icmp_echo(message, v6);
    if (!echo) continue;
    expect_within(echo->payload, message);
    const auto packet =
        make_icmp_echo(ip(v6 ? "fec0::1" : "10.0.2.2"), ip(v6 ? "fec0::2" : "10.0.2.15"), 64,
                       echo->reply, echo->id, echo->seq, echo->payload);
    const auto parsed = packets::parse_ip(packet);
    check(parsed.icmp && parsed.icmp->echo && parsed.transport_checksum_valid &&
              std::ranges::equal(parsed.icmp->echo->payload, echo->payload),
          "an echo reads as it was written");
  }
  icmp_checksum_valid(message);
  icmpv6_checksum_valid(ip("fec0::1"), ip("fec0::2"), message);
}

void answer_with_error(Message packet, bool v6) {
  if (!may_answer_with_error(packet)) return;
  const auto error = make_icmp_error(ip(v6 ? "fec0::1" : "10.0.2.2"),
                                     ip(v6 ? "fec0::2" : "10.0.2.15"), v6 ? 1 : 3, 0, 0, packet);
  check(error.size() <= (v6 ? kIcmpv6ErrorBytesMax : kIcmpErrorBytesMax), "an error is bounded");
  const auto parsed = packets::parse_ip(error);
  check(parsed.icmp && parsed.transport_checksum_valid, "an error is a sound packet");
  check(!may_answer_with_error(error), "nobody answers an error with an error");
}

void read_packet(tests::Input& input) {
  const Message packet = input.rest();
  if (const auto ip4 = parse_ipv4(packet)) {
    check(ip4->header_bytes >= kIpv4HeadBytes && ip4->header_bytes <= ip4->total_bytes &&
              ip4->total_bytes <= packet.size(),
          "an IPv4 header's lengths agree");
    expect_within(ipv4_payload(*ip4, packet), packet);
    answer_with_error(packet, false);
  }
  if (const auto ip6 = parse_ipv6(packet)) {
    if (const auto upper = skip_extensions(packet)) {
      check(upper->offset <= packet.size(), "extension headers end within the packet");
      expect_within(ipv6_payload(*ip6, *upper, packet), packet);
    }
    answer_with_error(packet, true);
  }
  may_answer_with_error(packet);
}

void read_transport(tests::Input& input) {
  const Message segment = input.rest();
  if (const auto udp = parse_udp(segment)) {
    expect_within(udp->payload, segment);
    check(udp->payload.size() + kUdpHeadBytes <= udp->length, "a datagram is as long as it says");
    udp_checksum_valid(ip("10.0.2.15"), ip("10.0.2.2"), segment);
  }
  if (const auto tcp = parse_tcp(segment)) {
    expect_within(tcp->payload, segment);
    check(tcp->payload.size() + tcp->header_bytes == segment.size(), "a segment is divided in two");
  }
  Bytes copy(segment.begin(), segment.end());
  const uint16_t before = transport_checksum(ip("10.0.2.15"), ip("10.0.2.2"), kProtocolTcp, copy);
  if (!clear_urgent(copy)) return;
  check(transport_checksum(ip("10.0.2.15"), ip("10.0.2.2"), kProtocolTcp, copy) == before,
        "the sum stays as right or wrong as it was");
  check(!clear_urgent(copy), "nothing urgent is left");
}

void read_dhcp(tests::Input& input) {
  const Message message = input.rest();
  const auto dhcp = parse_dhcp(message);
  if (!dhcp) return;
  expect_within(dhcp->hostname, message);
  expect_within(dhcp->client_id, message);
  if (dhcp->fqdn) expect_within(dhcp->fqdn->name, message);
  const Bytes written = make_dhcp(*dhcp);
  check(written.size() >= kDhcpMessageBytesMin && written.size() <= kDhcpPayloadBytesMax,
        "a DHCP message is bounded");
  const auto again = parse_dhcp(written);
  check(again && again->type == dhcp->type && again->xid == dhcp->xid &&
            again->client_mac == dhcp->client_mac && again->client_ip == dhcp->client_ip &&
            again->from_server == dhcp->from_server && again->broadcast == dhcp->broadcast &&
            again->requested_ip == dhcp->requested_ip && again->server_id == dhcp->server_id &&
            again->lease_seconds == dhcp->lease_seconds,
        "DHCP reads as it was written");
}

void read_dhcpv6(tests::Input& input) {
  const Message message = input.rest();
  const auto dhcp = parse_dhcpv6(message);
  if (!dhcp) return;
  for (const Message view : {dhcp->client_id, dhcp->server_id, dhcp->search}) {
    expect_within(view, message);
  }
  const Bytes written = make_dhcpv6(*dhcp);
  const auto again = parse_dhcpv6(written);
  check(again && again->type == dhcp->type && again->transaction == dhcp->transaction &&
            std::ranges::equal(again->client_id, dhcp->client_id) &&
            std::ranges::equal(again->server_id, dhcp->server_id) && again->dns == dhcp->dns &&
            again->refresh_seconds == dhcp->refresh_seconds,
        "DHCPv6 reads as it was written");
}

void read_router(tests::Input& input) {
  constexpr std::array<uint8_t, 5> kSearch{3, 'l', 'a', 'n', 0};
  const uint8_t bits = input.u8();
  RouterAnnouncement announcement;
  if ((bits & 1U) != 0) announcement.dns = ip("fec0::3");
  if ((bits & 2U) != 0) announcement.search = kSearch;
  if ((bits & 4U) != 0) announcement.mtu = 1400;
  announcement.lifetime_seconds = bits;
  const auto once = announce(input.rest(), announcement);
  if (!once) return;
  const auto twice = announce(*once, announcement);
  check(twice == once, "an announcement takes its own place");
}

void read_dns(tests::Input& input) {
  const Message message = input.rest();
  wire_host_name(message);
  const auto question = dns_question(message);
  if (question) {
    expect_within(*question, message);
    check(same_dns_question(*question, *question), "a question is its own");
  }
  if (const auto dns = parse_dns(message)) {
    check(question.has_value(), "who reads a message can read its question");
    check(dns->addresses.size() <= kDnsAddressesMax, "addresses are bounded");
    check(dns->question.size() <= 4 * kDnsNameBytesMax, "a name is bounded");
  }
  if (message.size() < kDnsHeadBytes) return;
  const auto refusal = parse_dns(make_dns_refusal(message, kDnsServerFailure));
  check(!question || (refusal && refusal->response && refusal->rcode == kDnsServerFailure),
        "a refusal can be read");
}

// A name of our own making, as far as it can be asked for.
void write_dns(tests::Input& input) {
  const Message text = input.rest();
  const std::string name(text.begin(), text.end());
  const auto query = make_dns_query(name, DnsType::kA, 7);
  if (query) check(parse_dns(*query).has_value(), "a question of ours can be read");
  Bytes labels;
  if (append_dns_name(name, labels)) {
    check(labels.size() <= kDnsNameBytesMax, "a name on the wire is bounded");
  }
  if (const auto domain = domain_name(name)) {
    check(domain_name(*domain) == domain, "a domain is its own");
  }
  address_of_reverse_name(name);
}

using Read = void (*)(tests::Input&);
constexpr std::array<Read, 10> kReaders{read_arp,       read_ndp,  read_echo,   read_packet,
                                        read_transport, read_dhcp, read_dhcpv6, read_router,
                                        read_dns,       write_dns};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tests::Input input(data, size);
  kReaders[input.u8() % kReaders.size()](input);
  return 0;
}
