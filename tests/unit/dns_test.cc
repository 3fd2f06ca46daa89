// What the gateway reads of a guest's question, and what it answers by itself.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>
#include <string>

#include "netstack/base/error.h"
#include "netstack/config/host_name.h"
#include "netstack/names/dns_message.h"
#include "netstack/names/resolv_conf.h"
#include "tests/unit/fake_nameserver.h"
#include "tests/unit/resolv_file.h"

using namespace netstack;
using namespace tests;
using packets::ip;

namespace {

constexpr uint16_t kA = 1;
constexpr uint16_t kSoa = 6;
constexpr uint16_t kPtr = 12;
constexpr uint16_t kMx = 15;
constexpr uint16_t kAaaa = 28;
constexpr uint16_t kAny = 255;

struct Lan {
  explicit Lan(GatewayConfig with = {})
      : config(std::move(with)), leases(config.network, {}), names(config, leases) {
    const Mac web = packets::mac("52:54:00:00:00:01");
    leases.bind(web, ip("10.0.2.15"), 100 * kSecond_ns, 0, 1);
    leases.name(web, "web", 0);
  }
  std::optional<LocalAnswer> lookup(std::string_view name, uint16_t type = kA,
                                    uint64_t now_ns = 0) const {
    return names.lookup(name, type, now_ns);
  }

  GatewayConfig config;
  LeaseTable leases;
  LanNames names;
};

GatewayConfig with_hosts() {
  GatewayConfig config;
  for (const char* host : {"db=10.0.2.20", "db=fec0::20", "mirror.example.org=192.0.2.7"}) {
    config.names.hosts.push_back(HostEntry::parse(host));
  }
  return config;
}

std::string one_line(const std::optional<LocalAnswer>& answer) {
  if (!answer) return "not ours";
  std::string text = std::string(dns_rcode_name(answer->rcode));
  for (const IpAddress& address : answer->addresses) text += " " + to_string(address);
  for (const std::string& name : answer->names) text += " " + name;
  return text;
}

}  // namespace

TEST_CASE("which names are the LAN's own, and what they come to") {
  const Lan lan(with_hosts());
  struct Row {
    const char* name;
    uint16_t type;
    const char* answer;
  };
  const std::vector<Row> rows = {
      {"web", kA, "NOERROR 10.0.2.15"},
      {"web.lan", kA, "NOERROR 10.0.2.15"},
      {"web.lan", kAny, "NOERROR 10.0.2.15"},
      {"web.lan", kAaaa, "NOERROR"},
      {"web.lan", kMx, "NOERROR"},
      {"a.web.lan", kA, "NXDOMAIN"},
      {"webb.lan", kA, "NXDOMAIN"},
      {"lan", kSoa, "NOERROR"},
      {"webb", kA, "not ours"},
      {"weblan", kA, "not ours"},
      {"web.example.org", kA, "not ours"},
      {".", kA, "not ours"},
      {"gateway.lan", kA, "NOERROR 10.0.2.2"},
      {"gateway", kAaaa, "NOERROR fec0::2"},
      {"db", kA, "NOERROR 10.0.2.20"},
      {"db.lan", kAaaa, "NOERROR fec0::20"},
      {"db.lan", kAny, "NOERROR 10.0.2.20 fec0::20"},
      {"mirror.example.org", kA, "NOERROR 192.0.2.7"},
      {"mirror.example.org", kAaaa, "NOERROR"},
      {"mirror", kA, "not ours"},
      {"mirror.example.org.lan", kA, "NXDOMAIN"},
      {"15.2.0.10.in-addr.arpa", kPtr, "NOERROR web.lan"},
      {"20.2.0.10.in-addr.arpa", kPtr, "NOERROR db.lan"},
      {"2.2.0.10.in-addr.arpa", kPtr, "NOERROR gateway.lan"},
      {"77.2.0.10.in-addr.arpa", kPtr, "NXDOMAIN"},
      {"15.2.0.10.in-addr.arpa", kA, "NOERROR"},
      {"7.2.0.192.in-addr.arpa", kPtr, "NOERROR mirror.example.org"},
      {"8.8.8.8.in-addr.arpa", kPtr, "not ours"},
      {"0.2.0.10.in-addr.arpa.lan", kPtr, "NXDOMAIN"},
      {"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.e.f.ip6.arpa", kPtr,
       "NOERROR gateway.lan"},
      {"9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.e.f.ip6.arpa", kPtr,
       "NXDOMAIN"},
      {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", kPtr,
       "not ours"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    CAPTURE(row.type);
    CHECK(one_line(lan.lookup(row.name, row.type)) == row.answer);
  }
}

TEST_CASE("a lease's end is the end of its name") {
  const Lan lan;
  CHECK(one_line(lan.lookup("web.lan", kA, 99 * kSecond_ns)) == "NOERROR 10.0.2.15");
  CHECK(one_line(lan.lookup("web.lan", kA, 100 * kSecond_ns)) == "NXDOMAIN");
  CHECK(one_line(lan.lookup("15.2.0.10.in-addr.arpa", kPtr, 100 * kSecond_ns)) == "NXDOMAIN");
}

TEST_CASE("without a domain, and with a zone for it") {
  GatewayConfig config;
  config.names.domain.clear();
  CHECK(one_line(Lan(config).lookup("web")) == "NOERROR 10.0.2.15");
  CHECK(one_line(Lan(config).lookup("web.lan")) == "not ours");
  CHECK(one_line(Lan(config).lookup("15.2.0.10.in-addr.arpa", kPtr)) == "NOERROR web");
  config.names.domain = "lan";
  config.names.zones.push_back(DnsZone::parse("lan=192.0.2.1"));
  CHECK(one_line(Lan(config).lookup("web.lan")) == "NOERROR 10.0.2.15");
  CHECK(one_line(Lan(config).lookup("other.lan")) == "not ours");
}

TEST_CASE("zones: the longest suffix, all its servers") {
  GatewayConfig config;
  for (const char* zone : {"example=192.0.2.1", "corp.example=192.0.2.2:5300",
                           "corp.example=[2001:db8::2]:54", "b=192.0.2.4"}) {
    config.names.zones.push_back(DnsZone::parse(zone));
  }
  const Lan lan(config);
  const auto text = [&](const char* name) {
    std::string servers;
    for (const DnsServer& server : lan.names.zone_servers(name)) servers += to_string(server) + ";";
    return servers;
  };
  CHECK(text("www.example") == "192.0.2.1;");
  CHECK(text("example") == "192.0.2.1;");
  CHECK(text("a.corp.example") == "192.0.2.2 port 5300;2001:db8::2 port 54;");
  CHECK(text("acorp.example") == "192.0.2.1;");
  CHECK(text("a.b") == "192.0.2.4;");
  CHECK(text("a.c").empty());
  config.names.zones.push_back(DnsZone::parse(".=192.0.2.9"));
  const Lan all(config);
  CHECK(all.names.zone_servers("a.c").size() == 1);
  CHECK(all.names.zone_servers("a.b")[0].address == ip("192.0.2.4"));
  CHECK(all.names.zone_servers("a.b").size() == 1);
}

TEST_CASE("options: what is taken and what is refused") {
  CHECK(HostEntry::parse("Db.Example.=10.0.2.20").name == "db.example");
  CHECK(StaticLease::parse("52:54:00:AB:cd:01=10.0.2.9").mac == packets::mac("52:54:00:ab:cd:01"));
  CHECK(DnsZone::parse(".corp=192.0.2.1").suffix == "corp");
  CHECK(DnsZone::parse("corp=2001:db8::1").server.address == ip("2001:db8::1"));
  CHECK(DnsZone::parse("corp=127.0.0.1:54").server.origin == "--zone corp=127.0.0.1:54");
  CHECK(NamesConfig::parse_domain("Lab.Test.") == "lab.test");
  CHECK(NamesConfig::parse_domain("").empty());
  CHECK(NamesConfig::parse_mtu("9000") == 9000);
  const std::string label(64, 'a');
  for (const std::string& bad :
       {std::string("db"), std::string("=10.0.2.1"), std::string("db="), std::string("db=10.0.2"),
        std::string("d b=10.0.2.1"), label + "=10.0.2.1", std::string("a..b=10.0.2.1")}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(HostEntry::parse(bad), Error);
  }
  for (const char* bad :
       {"52:54:00:00:00:01", "52:54:00:00:00=10.0.2.9", "52-54-00-00-00-01=10.0.2.9",
        "01:00:5e:00:00:01=10.0.2.9", "52:54:00:00:00:01=fec0::9", "52:54:00:00:00:0g=10.0.2.9"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(StaticLease::parse(bad), Error);
  }
  for (const char* bad : {"corp", "corp=", "corp=ns1", "corp=192.0.2.1:0", "corp=192.0.2.1:x",
                          "corp=[192.0.2.1]:53", "corp=[2001:db8::1]", "c orp=192.0.2.1"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(DnsZone::parse(bad), Error);
  }
  for (const char* bad : {"575", "65522", "", "1500x"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(NamesConfig::parse_mtu(bad), Error);
  }
  CHECK_THROWS_AS(NamesConfig::parse_domain("a b"), Error);
  try {
    HostEntry::parse("db=there");
    FAIL("an address that is none was taken");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) ==
          "cannot use --host db=there: what follows the = is no IPv4 or IPv6 address; write for "
          "example db=10.0.2.20");
    CHECK(error.exit_code() == EX_USAGE);
  }
}

TEST_CASE("static leases that cannot be") {
  for (const char* bad : {"10.0.3.1", "10.0.2.0", "10.0.2.255", "10.0.2.2", "10.0.2.3"}) {
    CAPTURE(bad);
    GatewayConfig config;
    config.names.leases.push_back(StaticLease::parse(fmt::format("52:54:00:00:00:01={}", bad)));
    CHECK_THROWS_AS(config.check_names(), Error);
  }
  GatewayConfig twice;
  twice.names.leases = {StaticLease::parse("52:54:00:00:00:01=10.0.2.9"),
                        StaticLease::parse("52:54:00:00:00:02=10.0.2.9")};
  CHECK_THROWS_AS(twice.check_names(), Error);
  twice.names.leases[1] = StaticLease::parse("52:54:00:00:00:01=10.0.2.8");
  CHECK_THROWS_AS(twice.check_names(), Error);
  twice.names.leases[1] = StaticLease::parse("52:54:00:00:00:02=10.0.2.8");
  CHECK_NOTHROW(twice.check_names());
  twice.names.search.assign(30, "a-search-domain.example");
  CHECK_THROWS_AS(twice.check_names(), Error);
}

TEST_CASE("local answers as they go on the wire") {
  const Lan lan(with_hosts());
  const auto answer = [&](const Bytes& query) {
    const auto parsed = parse_query(query);
    REQUIRE(parsed);
    REQUIRE(parsed->refusal == 0);
    const auto local = lan.lookup(parsed->name, parsed->type);
    REQUIRE(local);
    return make_local_answer(query, *parsed, *local);
  };
  const Bytes query = dns_query("DB.Lan", kA, 0xbeef);
  const Bytes found = answer(query);
  const auto dns = parse_dns(found);
  REQUIRE(dns);
  CHECK(dns->id == 0xbeef);
  CHECK(dns->response);
  CHECK(dns->question == "DB.Lan");  // as it was asked
  CHECK(dns->addresses == std::vector{ip("10.0.2.20")});
  CHECK((found[2] & 0x04) != 0);  // authoritative
  CHECK((found[3] & 0x80) != 0);  // recursion available

  const auto both = parse_dns(answer(dns_query("db.lan", kAny)));
  CHECK(both->addresses == std::vector{ip("10.0.2.20"), ip("fec0::20")});
  const Bytes nothing = answer(dns_query("other.lan"));
  CHECK(parse_dns(nothing)->rcode == kDnsNameError);
  CHECK(read_u16(&nothing[8]) == 1);  // the SOA
  const Bytes pointer = answer(dns_query("15.2.0.10.in-addr.arpa", kPtr));
  CHECK(read_u16(&pointer[6]) == 1);
  const std::string name("\x03web\x03lan", 9);
  CHECK(std::string(pointer.begin(), pointer.end()).find(name) != std::string::npos);

  const Bytes edns = answer(with_edns(query, 1232));
  CHECK(parse_dns(edns)->addresses.size() == 1);
  CHECK(read_u16(&edns[10]) == 1);  // EDNS is answered with EDNS, RFC 6891 §6.1.1
}

TEST_CASE("which messages are questions") {
  const Bytes query = dns_query("example.com");
  const auto refusal = [](const Bytes& message) -> int {
    const auto parsed = parse_query(message);
    return parsed ? parsed->refusal : -1;
  };
  const auto changed = [&](size_t at, uint8_t value) {
    Bytes message = query;
    message[at] = value;
    return message;
  };
  CHECK(refusal(query) == 0);
  CHECK(parse_query(query)->udp_bytes_max == 512);
  CHECK(parse_query(with_edns(query, 1232))->udp_bytes_max == 1232);
  CHECK(parse_query(with_edns(query, 100))->udp_bytes_max == 512);
  CHECK(parse_query(with_edns(query, 65'000))->udp_bytes_max == kDnsUdpBytesMax);
  CHECK(parse_query(dns_query("ExAmple.COM."))->name == "example.com");
  CHECK(parse_query(dns_query("."))->name == ".");
  CHECK_FALSE(parse_query(changed(query.size() - 1, 3))->internet);  // CHAOS

  CHECK(refusal(changed(2, 0x81)) == -1);  // an answer
  CHECK(refusal({}) == -1);
  CHECK(refusal(Bytes(kDnsQueryBytesMax + 1)) == -1);
  CHECK(refusal(changed(2, 0x28)) == kDnsNotImplemented);  // UPDATE
  CHECK(refusal(changed(5, 2)) == kDnsFormatError);        // two questions
  CHECK(refusal(changed(5, 0)) == kDnsFormatError);
  CHECK(refusal(changed(7, 1)) == kDnsFormatError);  // an answer in a question
  CHECK(refusal(changed(9, 1)) == kDnsFormatError);
  CHECK(refusal(changed(11, 1)) == kDnsFormatError);     // a record that is not there
  CHECK(refusal(changed(12, 0xc0)) == kDnsFormatError);  // a compressed question
  CHECK(refusal(Bytes(query.begin(), query.end() - 1)) == kDnsFormatError);
  CHECK(refusal(dns_query("example.com", 252)) == kDnsRefused);  // a zone transfer
  Bytes trailing = query;
  trailing.push_back(0);
  CHECK(refusal(trailing) == kDnsFormatError);
  Bytes edns = with_edns(query, 512);
  edns[edns.size() - 1] = 4;  // options that are not there
  CHECK(refusal(edns) == kDnsFormatError);
}

TEST_CASE("damaged and random questions: bounded, and answerable") {
  std::mt19937 random(20260801);
  const auto dice = [&](size_t sides) { return static_cast<size_t>(random()) % sides; };
  const Lan lan(with_hosts());
  const std::vector<Bytes> templates = {
      dns_query("db.lan"), with_edns(dns_query("web.lan", kAny), 4096), dns_query("other.lan"),
      with_edns(dns_query("20.2.0.10.in-addr.arpa", kPtr), 512), dns_query("example.com", kAaaa)};
  size_t local = 0;
  size_t refused = 0;
  for (int round = 0; round < 150'000; ++round) {
    Bytes message = templates[dice(templates.size())];
    if (dice(10) == 0) {
      message.resize(dice(600));
      for (uint8_t& byte : message) byte = static_cast<uint8_t>(random());
    }
    for (size_t i = dice(4); i > 0 && !message.empty(); --i) {
      message[dice(message.size())] = static_cast<uint8_t>(dice(3) == 0 ? 0xc0 : random());
    }
    if (dice(8) == 0) message.resize(dice(message.size() + 40));
    const auto parsed = parse_query(message);
    if (!parsed) continue;
    if (parsed->refusal != 0) {
      ++refused;
      const Bytes refusal = make_dns_refusal(message, parsed->refusal);
      CHECK(refusal.size() <= message.size());
      continue;
    }
    const auto answer = lan.lookup(parsed->name, parsed->type, 0);
    if (!answer || !parsed->internet) continue;
    ++local;
    REQUIRE(parse_dns(make_local_answer(message, *parsed, *answer)));
  }
  CHECK(local > 10'000);
  CHECK(refused > 10'000);
}

TEST_CASE("resolv.conf is read again when it is another") {
  ManualClock clock;
  // On a clock far ahead of the file's times, only a change makes it read again.
  clock.advance_ns(uint64_t{50} * 365 * 86'400 * kSecond_ns);
  const ResolvFile file("nameserver 127.0.0.1\n");
  FdLog log(STDERR_FILENO, "dns_test");
  ResolvConf resolv(file.path, clock, log);
  const auto text = [&] {
    std::string servers;
    for (const DnsServer& server : resolv.servers()) servers += to_string(server) + ";";
    return servers;
  };
  CHECK(text() == "127.0.0.1;");
  CHECK(resolv.servers()[0].origin == file.path);
  CHECK(text() == "127.0.0.1;");
  file.write("nameserver 127.0.0.1\nnameserver fe80::1%lo\n");
  CHECK(text() == "127.0.0.1;fe80::1%lo;");
  const ResolvFile other("nameserver 127.0.0.2\nnameserver fe80::2%lo\n");  // as long
  REQUIRE(::rename(other.path.c_str(), file.path.c_str()) == 0);
  CHECK(text() == "127.0.0.2;fe80::2%lo;");
  REQUIRE(::unlink(file.path.c_str()) == 0);
  CHECK(text().empty());
  file.write("nameserver 127.0.0.3\n");
  CHECK(text() == "127.0.0.3;");
}

TEST_CASE("names on the wire and in reverse") {
  const auto wire = [](const std::string& text) {
    return wire_host_name({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  CHECK(wire(std::string("\x03Web\x03lan\0", 9)) == "web.lan");
  CHECK(wire(std::string("\x03web", 4)) == "web");
  CHECK_FALSE(wire(std::string("\x04web", 4)));
  CHECK_FALSE(wire(std::string("\x03web\0\x01x", 7)));
  CHECK_FALSE(wire(std::string("\0", 1)));
  CHECK_FALSE(wire(""));
  CHECK(address_of_reverse_name("4.3.2.1.in-addr.arpa") == ip("1.2.3.4"));
  for (const char* name : {"3.2.1.in-addr.arpa", "5.4.3.2.1.in-addr.arpa", "256.3.2.1.in-addr.arpa",
                           "x.3.2.1.in-addr.arpa", ".3.2.1.in-addr.arpa", "in-addr.arpa",
                           "1.2.ip6.arpa", "4.3.2.1.in-addr.arpa.lan"}) {
    CAPTURE(name);
    CHECK_FALSE(address_of_reverse_name(name));
  }
}
