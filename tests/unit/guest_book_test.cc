// The book of what guests show of themselves, fed with frames. What the doctor makes of it is the
// matter of tests/system/test_doctor_lan.py.
#include "netstack/gateway/guest_book.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "netstack/wire/dhcp.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Builder;
using packets::Bytes;

namespace {

constexpr auto kOne = "52:54:00:00:00:01";
constexpr auto kTwo = "52:54:00:00:00:02";
constexpr auto kGatewayMac = "52:55:0a:00:02:02";
constexpr auto kAll = "ff:ff:ff:ff:ff:ff";

struct Bed {
  explicit Bed(size_t mtu = 0) : book(clock, GatewayNetwork{}, packets::mac(kGatewayMac), mtu) {}

  void arp(const char* mac, const char* sender, const char* target) {
    book.hear_arp(Builder().eth(mac, kAll).arp_request(sender, target).build());
  }
  void packet(const Builder& builder, bool ours = true) {
    Bytes bytes = builder.build();
    const auto packet = parse_guest_packet(bytes);
    REQUIRE(packet.has_value());
    book.hear(*packet, ours);
  }
  void tagged(const Builder& builder) {
    with_frame(builder, [&](const Frame& frame) { book.note_tagged(frame); });
  }
  void sized(const Builder& builder, bool super_frame = false) {
    with_frame(builder, [&](Frame frame) {
      if (super_frame) frame.offload.gso.kind = Gso::Kind::kTcp4;
      book.watch_size(frame);
    });
  }
  template <typename Take>
  static void with_frame(const Builder& builder, Take take) {
    const Bytes bytes = builder.build();
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
    take(frame);
  }
  const GuestBook::Guest& only_guest() {
    REQUIRE(book.guests().size() == 1);
    return book.guests().front();
  }
  const GuestBook::Claim* claim(const char* address) {
    for (const auto& claim : book.claims()) {
      if (claim.address == packets::ip(address)) return &claim;
    }
    return nullptr;
  }

  ManualClock clock;
  GuestBook book;
};

}  // namespace

TEST_CASE("a question for an address beyond the network is the sign of a missing route") {
  Bed bed;
  bed.arp(kOne, "10.0.2.15", "10.0.2.2");
  CHECK(bed.only_guest().off_subnet.count == 0);
  for (const char* target : {"10.0.2.77", "169.254.1.1", "0.0.0.0"}) {
    bed.arp(kOne, "10.0.2.15", target);
    CHECK(bed.only_guest().off_subnet.count == 0);
  }
  bed.arp(kOne, "192.168.0.9", "8.8.8.8");  // of another network: that is the trouble then
  CHECK(bed.only_guest().off_subnet.count == 0);
  bed.clock.advance_ns(5);
  bed.arp(kOne, "10.0.2.15", "8.8.8.8");
  CHECK(bed.only_guest().off_subnet.count == 1);
  CHECK(bed.only_guest().off_subnet.last_ns == bed.clock.monotonic_ns());
  CHECK(bed.only_guest().off_subnet_address == packets::ip("8.8.8.8"));
  CHECK(bed.only_guest().heard.count == 7);
}

TEST_CASE("a lease that is declined is noted with its address") {
  Bed bed;
  const auto send = [&](DhcpType type, std::optional<IpAddress> address, size_t cut = 0) {
    Dhcp dhcp{.type = type, .client_mac = packets::mac(kOne).octets, .requested_ip = address};
    std::vector<uint8_t> bytes = make_dhcp(dhcp);
    bytes.resize(bytes.size() - cut);
    bed.packet(
        Builder().eth(kOne, kAll).ip("0.0.0.0", "255.255.255.255").udp(68, 67).payload(bytes));
  };
  send(DhcpType::kRequest, packets::ip("10.0.2.15"));
  send(DhcpType::kDecline, std::nullopt);
  send(DhcpType::kDecline, packets::ip("10.0.2.15"), 299);
  CHECK(bed.only_guest().dhcp.count == 3);
  CHECK(bed.only_guest().declined.count == 0);
  send(DhcpType::kDecline, packets::ip("10.0.2.15"));
  CHECK(bed.only_guest().declined.count == 1);
  CHECK(bed.only_guest().declined_address == packets::ip("10.0.2.15"));
}

TEST_CASE("an address claimed by two is one claim with changes") {
  Bed bed;
  bed.arp(kOne, "10.0.2.20", "10.0.2.2");
  bed.arp(kOne, "10.0.2.20", "10.0.2.20");
  REQUIRE(bed.claim("10.0.2.20") != nullptr);
  CHECK(bed.claim("10.0.2.20")->change_count == 0);
  const uint64_t before_ns = bed.clock.monotonic_ns();
  bed.clock.advance_ns(7);
  bed.arp(kTwo, "10.0.2.20", "10.0.2.2");
  CHECK(bed.claim("10.0.2.20")->change_count == 1);
  CHECK(bed.claim("10.0.2.20")->mac == packets::mac(kTwo));
  CHECK(bed.claim("10.0.2.20")->rival == packets::mac(kOne));
  CHECK(bed.claim("10.0.2.20")->rival_ns == before_ns);
  bed.arp(kOne, "10.0.2.20", "10.0.2.2");
  CHECK(bed.claim("10.0.2.20")->change_count == 2);
}

TEST_CASE("a probe claims nothing, the gateway's own address is taken already") {
  Bed bed;
  bed.arp(kOne, "0.0.0.0", "10.0.2.20");
  CHECK(bed.book.claims().empty());
  for (const char* own : {"10.0.2.2", "10.0.2.3"}) {
    bed.arp(kOne, own, "10.0.2.15");
    REQUIRE(bed.claim(own) != nullptr);
    CHECK(bed.claim(own)->change_count == 1);
    CHECK(bed.claim(own)->rival == packets::mac(kGatewayMac));
    bed.arp(kOne, own, "10.0.2.15");
    CHECK(bed.claim(own)->change_count == 2);
  }
}

TEST_CASE("neighbour discovery claims the source, the advertised, and what is being tried") {
  Bed bed;
  constexpr auto kGroup = "33:33:ff:00:00:02";
  bed.packet(Builder()
                 .eth(kOne, kGroup)
                 .ipv6("fe80::1", "ff02::1:ff00:2")
                 .ttl(255)
                 .neighbour_solicitation("fec0::2"));
  CHECK(bed.claim("fe80::1") != nullptr);
  CHECK(bed.claim("fec0::2") == nullptr);
  bed.packet(Builder()
                 .eth(kOne, "33:33:00:00:00:01")
                 .ipv6("fe80::1", "ff02::1")
                 .ttl(255)
                 .neighbour_advertisement("fec0::9"));
  REQUIRE(bed.claim("fec0::9") != nullptr);
  bed.packet(Builder()
                 .eth(kTwo, kGroup)
                 .ipv6("::", "ff02::1:ff00:9")
                 .ttl(255)
                 .neighbour_solicitation("fec0::9"));
  CHECK(bed.claim("fec0::9")->change_count == 1);
  CHECK(bed.claim("fec0::9")->mac == packets::mac(kTwo));
  // From beyond the link, by its hop limit: believed by nobody (RFC 4861 §7.1).
  bed.packet(Builder()
                 .eth(kTwo, kGroup)
                 .ipv6("fe80::2", "ff02::1")
                 .neighbour_advertisement("fec0::77")
                 .ttl(64));
  CHECK(bed.claim("fec0::77") == nullptr);
}

TEST_CASE("DHCP and strange sources are noted by sender") {
  Bed bed;
  bed.packet(Builder().eth(kOne, kAll).ipv4("0.0.0.0", "255.255.255.255").udp(68, 67));
  CHECK(bed.only_guest().dhcp.count == 1);
  bed.packet(Builder().eth(kOne, kGatewayMac).ipv4("10.0.2.15", "10.0.2.2").udp(68, 53));
  CHECK(bed.only_guest().dhcp.count == 1);
  bed.packet(Builder().eth(kOne, kGatewayMac).ipv4("192.168.7.7", "8.8.8.8").udp(1, 67), false);
  CHECK(bed.only_guest().dhcp.count == 1);
  CHECK(bed.only_guest().foreign.count == 1);
  CHECK(bed.only_guest().foreign_address == packets::ip("192.168.7.7"));
}

TEST_CASE("tagged frames are noted, and those meant for the gateway apart") {
  Bed bed;
  bed.tagged(Builder().eth(kOne, kAll).tag(5).arp_request("10.0.2.15", "10.0.2.77"));
  CHECK(bed.only_guest().tagged.count == 1);
  CHECK(bed.only_guest().tagged_vid == 5);
  CHECK(bed.only_guest().tagged_for_us.count == 0);
  uint64_t count = 0;
  for (const Builder& builder :
       {Builder().eth(kOne, kAll).tag(5).arp_request("10.0.2.15", "10.0.2.2"),
        Builder().eth(kOne, kAll).tag(5).arp_request("10.0.2.15", "10.0.2.3"),
        Builder().eth(kOne, kAll).tag(5).ipv4("0.0.0.0", "255.255.255.255").udp(68, 67),
        Builder().eth(kOne, kGatewayMac).tag(5).ipv4("10.0.2.15", "8.8.8.8").udp(1, 2)}) {
    bed.tagged(builder);
    CHECK(bed.only_guest().tagged_for_us.count == ++count);
  }
  bed.tagged(Builder().eth(kOne, kAll).tag(5).ipv4("0.0.0.0", "255.255.255.255").udp(67, 68));
  bed.tagged(Builder().eth(kOne, kAll).tag(5).ethertype(0x0800));  // nothing behind the head
  bed.tagged(Builder().eth(kOne, kAll).tag(5).ethertype(0x0806).payload("short"));
  CHECK(bed.only_guest().tagged_for_us.count == count);
}

TEST_CASE("frames beyond the MTU are noted, super-frames are no such thing") {
  Bed bed(1400);
  const auto frame = [](size_t ip_bytes) {
    return Builder()
        .eth(kOne, kGatewayMac)
        .ipv4("10.0.2.15", "8.8.8.8")
        .udp(1, 2)
        .payload_bytes(ip_bytes - 28);
  };
  bed.sized(frame(1400));
  bed.sized(frame(9000), true);
  CHECK(bed.book.guests().empty());
  bed.sized(frame(1500));
  CHECK(bed.only_guest().oversized.count == 1);
  CHECK(bed.only_guest().oversized_bytes == 1514);
}

TEST_CASE("a guest that invents addresses fills the book and no more") {
  Bed bed;
  for (uint32_t n = 0; n < 3 * GuestBook::kClaimsMax; ++n) {
    const std::string mac =
        fmt::format("02:00:00:{:02x}:{:02x}:{:02x}", n >> 16U, n >> 8U & 255U, n & 255U);
    const std::string address = fmt::format("10.9.{}.{}", n >> 8U & 255U, n & 255U);
    bed.arp(mac.c_str(), address.c_str(), "10.0.2.2");
  }
  CHECK(bed.book.guests().size() == GuestBook::kGuestsMax);
  CHECK(bed.book.claims().size() == GuestBook::kClaimsMax);
  const uint32_t last = 3 * GuestBook::kClaimsMax - 1;
  CHECK(bed.book.guests().back().mac.octets[4] == (last >> 8U & 255U));
  for (const Bytes& bytes : {Bytes(14), Bytes(20), Bytes(60)}) bed.book.hear_arp(bytes);
  CHECK(bed.book.claims().size() == GuestBook::kClaimsMax);
}
