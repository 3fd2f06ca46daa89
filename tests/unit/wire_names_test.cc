// Codecs of DHCPv6, router advertisements and DNS answers: what is made is read, and any bytes may
// come.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "netstack/wire/dhcpv6.h"
#include "netstack/wire/dns.h"
#include "netstack/wire/router_advertisement.h"
#include "netstack/wire/udp.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Bytes;
using packets::ip;

namespace {

Bytes names(std::initializer_list<const char*> list) {
  Bytes wire;
  for (const char* name : list) REQUIRE(append_dns_name(name, wire));
  return wire;
}

// A router advertisement as libslirp makes it: flags, a link-layer address, a prefix.
Bytes advertisement() {
  Bytes message(kRouterAdvertisementHeadBytes);
  message[0] = 134;
  message[4] = 64;
  const Bytes link_layer = {1, 1, 0x52, 0x56, 0, 0, 0, 2};
  Bytes prefix(32);
  prefix[0] = 3;
  prefix[1] = 4;
  message.insert(message.end(), link_layer.begin(), link_layer.end());
  message.insert(message.end(), prefix.begin(), prefix.end());
  return message;
}

}  // namespace

TEST_CASE("DHCPv6: what is made is read") {
  const Bytes id = make_duid({1, 2, 3, 4, 5, 6});
  CHECK(id == Bytes{0, 3, 0, 1, 1, 2, 3, 4, 5, 6});
  const Bytes search = names({"lan", "corp.example"});
  Dhcpv6 reply;
  reply.type = Dhcpv6Type::kReply;
  reply.transaction = 0x123456;
  reply.client_id = id;
  reply.server_id = std::span(id).first(8);
  reply.dns = ip("fec0::3");
  reply.search = search;
  reply.refresh_seconds = 86'400;
  const Bytes message = make_dhcpv6(reply);
  const auto read = parse_dhcpv6(message);
  REQUIRE(read);
  CHECK(read->type == Dhcpv6Type::kReply);
  CHECK(read->transaction == 0x123456);
  CHECK(std::ranges::equal(read->client_id, id));
  CHECK(read->server_id.size() == 8);
  CHECK(read->dns == ip("fec0::3"));
  CHECK(std::ranges::equal(read->search, search));
  CHECK(read->refresh_seconds == 86'400);
  CHECK_FALSE(read->wants_address);
}

TEST_CASE("DHCPv6: options by hand") {
  const auto with = [](const Bytes& options) {
    Bytes message = {11, 1, 2, 3};
    message.insert(message.end(), options.begin(), options.end());
    return message;
  };
  CHECK(parse_dhcpv6(with({})));
  CHECK(parse_dhcpv6(with({0, 3, 0, 0}))->wants_address);
  CHECK(parse_dhcpv6(with({0, 25, 0, 1, 9}))->wants_address);
  CHECK_FALSE(parse_dhcpv6(with({0, 23, 0, 4, 1, 2, 3, 4}))->dns);  // no whole address
  CHECK_FALSE(parse_dhcpv6(with({0, 1, 0})));
  CHECK_FALSE(parse_dhcpv6(with({0, 1, 0, 2, 9})));
  CHECK_FALSE(parse_dhcpv6(Bytes{11, 1, 2}));
  CHECK_FALSE(parse_dhcpv6(Bytes{12, 1, 2, 3}));  // a relay's
}

TEST_CASE("an announcement takes the place of what an advertisement said before") {
  const Bytes search = names({"lan"});
  RouterAnnouncement announcement;
  announcement.dns = ip("fec0::3");
  announcement.search = search;
  announcement.mtu = 1400;
  announcement.lifetime_seconds = 1800;
  const auto once = announce(advertisement(), announcement);
  REQUIRE(once);
  CHECK(once->size() == advertisement().size() + 8 + 24 + 16);
  CHECK(announce(*once, announcement) == *once);
  announcement = {};
  CHECK(announce(*once, announcement) == advertisement());
  Bytes lasting = advertisement();
  lasting[6] = 7;  // a router's lifetime is kept, or ended
  CHECK(announce(lasting, announcement) == lasting);
  announcement.default_router = false;
  CHECK(announce(lasting, announcement) == advertisement());

  Bytes bad = advertisement();
  bad[17] = 0;  // an option of length 0
  CHECK_FALSE(announce(bad, announcement));
  bad[17] = 9;  // past the end
  CHECK_FALSE(announce(bad, announcement));
  bad = advertisement();
  bad.resize(bad.size() - 1);
  CHECK_FALSE(announce(bad, announcement));
  bad = advertisement();
  bad[0] = 135;
  CHECK_FALSE(announce(bad, announcement));
}

TEST_CASE("questions are alike in either case of their letters, and in nothing else") {
  const auto question = [](const Bytes& message) {
    const auto found = dns_question(message);
    REQUIRE(found);
    return *found;
  };
  const Bytes one = *make_dns_query("Example.com", DnsType::kA, 1);
  const Bytes same = *make_dns_query("eXample.COM", DnsType::kA, 2);
  CHECK(same_dns_question(question(one), question(same)));
  for (const Bytes& other :
       {*make_dns_query("example.con", DnsType::kA, 1),
        *make_dns_query("example.com", DnsType::kAaaa, 1),
        *make_dns_query("examplescom", DnsType::kA, 1), *make_dns_query(".", DnsType::kA, 1)}) {
    CHECK_FALSE(same_dns_question(question(one), question(other)));
  }
}

TEST_CASE("a refusal keeps what was asked and nothing else") {
  Bytes query = *make_dns_query("example.com", DnsType::kA, 0xbeef);
  query[3] |= 0x10;  // checking disabled
  const Bytes refusal = make_dns_refusal(query, kDnsServerFailure);
  CHECK(refusal.size() == query.size());
  CHECK(parse_dns(refusal)->rcode == kDnsServerFailure);
  CHECK(parse_dns(refusal)->id == 0xbeef);
  CHECK(refusal[2] == 0x81);
  CHECK(refusal[3] == 0x92);
  CHECK(parse_dns(make_dns_refusal(query, kDnsNoError, true))->truncated);
  query[5] = 2;  // two questions: only the header can be kept
  CHECK(make_dns_refusal(query, kDnsFormatError).size() == kDnsHeadBytes);
}

TEST_CASE("UDP packets: what is made is read, and its checksum is right") {
  for (const auto& [from, to] : {std::pair{"10.0.2.2", "10.0.2.15"}, {"fec0::3", "fec0::15"}}) {
    const Bytes payload = {1, 2, 3};
    Bytes packet = make_udp_packet(ip(from), 53, ip(to), 4000, payload);
    auto parsed = packets::parse_ip(packet);
    REQUIRE(parsed.udp);
    CHECK(parsed.transport_checksum_valid);
    CHECK(std::ranges::equal(parsed.udp->payload, payload));
    const size_t head = packet.size() - payload.size() - kUdpHeadBytes;
    const auto segment = std::span(packet).subspan(head);
    CHECK(udp_checksum_valid(ip(from), ip(to), segment));
    segment[segment.size() - 1] ^= 1U;
    CHECK_FALSE(udp_checksum_valid(ip(from), ip(to), segment));
    segment[6] = segment[7] = 0;  // none: legal in IPv4 only
    CHECK(udp_checksum_valid(ip(from), ip(to), segment) == !ip(from).v6);
  }
}

TEST_CASE("any bytes may come") {
  std::mt19937 random(20260802);
  const auto dice = [&](size_t sides) { return static_cast<size_t>(random()) % sides; };
  const Bytes search = names({"lan"});
  Dhcpv6 request;
  request.client_id = search;
  request.dns = ip("fec0::3");
  const Bytes query = *make_dns_query("www.example.com", DnsType::kA, 1);
  const std::vector<Bytes> templates = {make_dhcpv6(request), advertisement(), query};
  RouterAnnouncement announcement;
  announcement.dns = ip("fec0::3");
  size_t read = 0;
  for (int round = 0; round < 200'000; ++round) {
    Bytes bytes = templates[dice(templates.size())];
    if (dice(8) == 0) bytes.resize(dice(bytes.size() + 60));
    for (size_t i = dice(4); i > 0 && !bytes.empty(); --i) {
      bytes[dice(bytes.size())] = static_cast<uint8_t>(random());
    }
    read += parse_dhcpv6(bytes).has_value() ? 1 : 0;
    if (const auto announced = announce(bytes, announcement)) {
      ++read;
      REQUIRE(announce(*announced, announcement) == *announced);
    }
    const auto question = dns_question(bytes);
    if (question) {
      ++read;
      CHECK(question->size() <= bytes.size());
      CHECK(same_dns_question(*question, *question));
    }
    if (bytes.size() >= kDnsHeadBytes) {
      const Bytes refusal = make_dns_refusal(bytes, kDnsFormatError);
      CHECK(refusal.size() == (question ? question->size() : kDnsHeadBytes));
    }
  }
  CHECK(read > 100'000);
}
