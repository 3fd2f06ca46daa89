#include "netstack/config/gateway_config.h"

#include <doctest/doctest.h>

#include "netstack/gateway/gateway.h"
#include "netstack/names/address_probe.h"
#include "netstack/wire/dhcp.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv6.h"
#include "netstack/wire/pseudo_header.h"
#include "tests/packets/packets.h"
#include "tests/unit/port_fixture.h"
#include "tests/unit/private_network.h"

using namespace netstack;
using packets::Builder;

namespace {

constexpr auto kGuest = "52:54:00:00:00:01";
constexpr auto kEveryone = "ff:ff:ff:ff:ff:ff";

void enter_private_network_once() {
  static const bool done = (tests::enter_private_network(), true);
  static_cast<void>(done);
}

// What a gateway of that configuration answers to one frame, at once and when it has asked the LAN.
std::vector<Bytes> answers(const GatewayConfig& config, const Bytes& frame,
                           uint64_t* drops = nullptr) {
  enter_private_network_once();
  ManualClock clock;
  Loop loop(clock);
  MemoryLog log;
  TestHost host(loop);
  Gateway gateway(loop, config, log);
  gateway.attach(host, 1);
  gateway.send(FrameView(frame).burst());
  for (int i = 0; i < 4; ++i) loop.tick(2 * kMillisecond_ns);
  clock.advance_ns(AddressProbe::kWait_ns);
  for (int i = 0; i < 4; ++i) loop.tick(2 * kMillisecond_ns);
  if (drops != nullptr) *drops = gateway.counters().dropped();
  gateway.detach();
  return host.received;
}

Bytes discover() {
  Dhcp dhcp;
  dhcp.type = DhcpType::kDiscover;
  dhcp.client_mac = packets::mac(kGuest).octets;
  return Builder()
      .eth(kGuest, kEveryone)
      .ip("0.0.0.0", "255.255.255.255")
      .udp(kPortDhcpClient, kPortDhcpServer)
      .payload(make_dhcp(dhcp))
      .build();
}

GatewayConfig moved() {
  GatewayConfig config;
  config.network = GatewayNetwork::parse("192.168.55.0/24");
  config.network.gateway_number = 1;
  config.network.nameserver_number = 9;
  config.network.first_lease_number = 100;
  return config;
}

}  // namespace

TEST_CASE("leases name the configured gateway, nameserver and first address") {
  const auto frames = answers(moved(), discover());
  INFO(packets::describe(frames));
  REQUIRE(frames.size() == 2);  // whether somebody has that address, and the offer
  const auto offer = parse_dhcp(packets::parse_frame(frames[1]).udp->payload);
  REQUIRE(offer);
  CHECK(offer->type == DhcpType::kOffer);
  CHECK(offer->your_ip == packets::ip("192.168.55.100"));
  CHECK(offer->router == packets::ip("192.168.55.1"));

  CHECK(offer->dns == packets::ip("192.168.55.9"));
}

TEST_CASE("a nameserver elsewhere is named in leases and not answered for") {
  GatewayConfig config = moved();
  config.network.nameserver_elsewhere = packets::ip("192.0.2.53");
  const auto frames = answers(config, discover());
  REQUIRE(frames.size() == 2);  // whether somebody has that address, and the offer
  const auto offer = parse_dhcp(packets::parse_frame(frames[1]).udp->payload);
  REQUIRE(offer);
  CHECK(offer->dns == packets::ip("192.0.2.53"));
}

TEST_CASE("without DHCP a discover gets no answer and goes nowhere") {
  GatewayConfig config;
  config.dhcp = false;
  uint64_t drops = 1;
  CHECK(answers(config, discover(), &drops).empty());
  CHECK(drops == 0);  // it was for the LAN, not for us
}

TEST_CASE("the moved gateway answers ARP where it is and not where it was") {
  const auto arp = [](const char* target) {
    return Builder().eth(kGuest, kEveryone).arp_request("192.168.55.30", target).build();
  };
  REQUIRE(answers(moved(), arp("192.168.55.1")).size() == 1);
  REQUIRE(answers(moved(), arp("192.168.55.9")).size() == 1);
  CHECK(answers(moved(), arp("192.168.55.2")).empty());
}

TEST_CASE("without IPv6 there is no router to be found") {
  const auto solicitation = Builder()
                                .eth(kGuest, "33:33:ff:00:00:02")
                                .ip("fec0::15", "ff02::1:ff00:2")
                                .ttl(255)
                                .neighbour_solicitation("fec0::2")
                                .build();
  GatewayConfig config;
  CHECK(answers(config, solicitation).size() == 1);
  config.ipv6 = false;
  CHECK(answers(config, solicitation).empty());
}

TEST_CASE("a restricted LAN has IPv6 addresses, and no router or nameserver by them") {
  // RFC 4861 §4.1, §4.2
  Bytes solicitation(kEthernetHeadBytes + kIpv6HeadBytes + 8);
  packets::mac("33:33:00:00:00:02").write(solicitation.data());
  packets::mac(kGuest).write(&solicitation[6]);
  write_u16(&solicitation[12], kEthertypeIpv6);
  const Ipv6 head{.payload_bytes = 8,
                  .next_header = kProtocolIcmpv6,
                  .hop_limit = 255,
                  .source = packets::ip("fe80::15"),
                  .destination = packets::ip("ff02::2")};
  write_ipv6(head, &solicitation[kEthernetHeadBytes]);
  const auto message = std::span(solicitation).subspan(kEthernetHeadBytes + kIpv6HeadBytes);
  message[0] = kIcmpv6RouterSolicitation;
  write_u16(&message[2],
            transport_checksum(head.source, head.destination, kProtocolIcmpv6, message));
  const auto advertised = [&](bool restricted) {
    GatewayConfig config;
    config.policy.restricted = restricted;
    const auto frames = answers(config, solicitation);
    REQUIRE(frames.size() == 1);
    const auto parsed = packets::parse_frame(frames[0]);
    CHECK(parsed.transport_checksum_valid);
    return Bytes(frames[0].begin() + kEthernetHeadBytes + kIpv6HeadBytes, frames[0].end());
  };
  const auto option = [](const Bytes& advertisement, uint8_t code) {
    for (size_t at = 16; at < advertisement.size(); at += advertisement[at + 1] * size_t{8}) {
      if (advertisement[at] == code) return at;
    }
    return size_t{0};
  };
  constexpr uint8_t kPrefix = 3;
  constexpr uint8_t kDnsServers = 25;
  const Bytes open = advertised(false);
  CHECK(read_u16(&open[6]) > 0);
  CHECK(option(open, kDnsServers) != 0);
  const Bytes restricted = advertised(true);
  CHECK(read_u16(&restricted[6]) == 0);
  CHECK(option(restricted, kDnsServers) == 0);
  REQUIRE(option(restricted, kPrefix) != 0);
  CHECK(restricted[option(restricted, kPrefix) + 3] == 0xc0);  // on the link, for addresses
}

TEST_CASE("host numbers that cannot be") {
  const auto wrong = [](uint32_t gateway, uint32_t nameserver, uint32_t first, bool leasing) {
    GatewayNetwork network;
    network.gateway_number = gateway;
    network.nameserver_number = nameserver;
    network.first_lease_number = first;
    return network.wrong_numbers(leasing);
  };
  CHECK(wrong(2, 3, 15, true).empty());
  CHECK(wrong(254, 1, 238 - 16, true).empty());
  CHECK(wrong(2, 3, 239, true).empty());
  CHECK_FALSE(wrong(2, 3, 240, true).empty());
  CHECK(wrong(2, 3, 240, false).empty());
  CHECK_FALSE(wrong(2, 3, 0, true).empty());
  CHECK_FALSE(wrong(0, 3, 15, false).empty());
  CHECK_FALSE(wrong(255, 3, 15, false).empty());
  CHECK_FALSE(wrong(2, 2, 15, false).empty());
  CHECK_FALSE(wrong(2, 255, 15, false).empty());
  CHECK_FALSE(wrong(20, 3, 15, true).empty());
  CHECK(wrong(20, 3, 15, false).empty());
  CHECK_FALSE(wrong(2, 30, 15, true).empty());
  GatewayNetwork elsewhere;
  elsewhere.nameserver_number = 2;
  elsewhere.nameserver_elsewhere = packets::ip("192.0.2.53");
  CHECK(elsewhere.wrong_numbers(true).empty());
}
