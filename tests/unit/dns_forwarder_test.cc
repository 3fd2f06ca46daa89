// Questions on their way to nameservers the test plays itself, in a network namespace of its own.
#include "netstack/names/dns_forwarder.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <random>
#include <set>
#include <string>

#include "tests/unit/fake_nameserver.h"
#include "tests/unit/private_network.h"

using namespace netstack;
using namespace tests;
using packets::ip;
using Stream = FakeNameserver::Stream;

namespace {

const auto kSilent = [](const Bytes&) { return std::vector<Bytes>{}; };
FakeNameserver::Answers saying(const char* address, AnswerShape shape = {}) {
  return [=](const Bytes& query) { return std::vector<Bytes>{dns_answer(query, address, shape)}; };
}

DnsClient udp_client(const char* guest = "10.0.2.15", uint16_t port = 4000) {
  DnsClient client;
  client.guest = ip(guest);
  client.port = port;
  client.asked = ip("10.0.2.3");
  client.udp_bytes_max = 512;
  return client;
}

DnsServer server(const char* address, uint16_t port = 53) {
  return {ip(address), port, {}, "/etc/resolv.conf"};
}

struct Forward {
  Forward() {
    static const bool once = (enter_private_network(), true);
    static_cast<void>(once);
  }
  void ask(const Bytes& query, std::vector<DnsServer> servers, DnsClient client = udp_client()) {
    forwarder.ask(std::move(client), query, std::move(servers));
    run();
  }
  void run() {
    for (int i = 0; i < 12; ++i) loop.tick(0);
  }
  void wait(uint64_t time_ns) {
    clock.advance_ns(time_ns);
    run();
  }
  IpAddress only_address() {
    REQUIRE(answers.size() == 1);
    const auto dns = parse_dns(answers[0]);
    REQUIRE(dns);
    REQUIRE_FALSE(dns->addresses.empty());
    return dns->addresses[0];
  }

  ManualClock clock;
  Loop loop{clock};
  std::vector<Bytes> answers;
  std::vector<DnsFailure> failures;
  std::vector<DnsClient> evicted;
  DnsForwarder forwarder{
      loop,
      {.on_answer =
           [this](const DnsClient&, std::span<const uint8_t> message) {
             answers.emplace_back(message.begin(), message.end());
           },
       .on_failure = [this](const DnsClient&, std::span<const uint8_t>,
                            const DnsFailure& failure) { failures.push_back(failure); },
       .on_evicted = [this](const DnsClient& client,
                            std::span<const uint8_t>) { evicted.push_back(client); }}};
};

}  // namespace

TEST_CASE("a question goes out with another id, and the answer comes back with its own") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.1"));
  std::set<uint16_t> ids;
  std::set<uint16_t> ports;
  for (uint16_t i = 0; i < 40; ++i) {
    bed.answers.clear();
    bed.ask(dns_query("example.com", 1, 7), {server("127.0.0.1")});
    CHECK(bed.only_address() == ip("192.0.2.1"));
    CHECK(parse_dns(bed.answers[0])->id == 7);
    ids.insert(parse_dns(one.queries.back())->id);
    ports.insert(one.ports.back());
  }
  CHECK(ids.size() > 35);  // 40 random numbers of 65 536: two alike are rare, five are not
  CHECK(ports.size() > 30);
  CHECK(bed.forwarder.pending_count() == 0);
}

TEST_CASE("IPv6 nameservers are asked as well") {
  Forward bed;
  FakeNameserver one(bed.loop, "::1", saying("2001:db8::5"));
  bed.ask(dns_query("example.com", 28), {server("::1")});
  CHECK(bed.only_address() == ip("2001:db8::5"));
}

TEST_CASE("a server that refuses is passed over at once") {
  Forward bed;
  FakeNameserver two(bed.loop, "127.0.0.2", saying("192.0.2.2"));
  bed.ask(dns_query("example.com"), {server("127.0.0.1"), server("127.0.0.2")});
  CHECK(bed.only_address() == ip("192.0.2.2"));
}

TEST_CASE("a silent server costs its delay once") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", kSilent);
  FakeNameserver two(bed.loop, "127.0.0.2", saying("192.0.2.2"));
  const std::vector<DnsServer> servers = {server("127.0.0.1"), server("127.0.0.2")};
  bed.ask(dns_query("example.com"), servers);
  CHECK(bed.answers.empty());
  bed.wait(DnsForwarder::kTry_ns);
  CHECK(bed.only_address() == ip("192.0.2.2"));
  bed.answers.clear();
  bed.ask(dns_query("example.com", 1, 8), servers);
  CHECK(bed.only_address() == ip("192.0.2.2"));
  CHECK(one.queries.size() == 1);
  // Later it gets its chance again.
  bed.clock.advance_ns(DnsForwarder::kSilent_ns);
  bed.ask(dns_query("example.com", 1, 9), servers);
  CHECK(one.queries.size() == 2);
}

TEST_CASE("when all were silent, all are asked again, each on its socket") {
  Forward bed;
  size_t asked = 0;
  FakeNameserver one(bed.loop, "127.0.0.1", [&](const Bytes& query) {
    return ++asked == 1 ? std::vector<Bytes>{} : std::vector<Bytes>{dns_answer(query, "192.0.2.1")};
  });
  FakeNameserver two(bed.loop, "127.0.0.2", kSilent);
  bed.ask(dns_query("example.com"), {server("127.0.0.1"), server("127.0.0.2")});
  bed.wait(DnsForwarder::kTry_ns);
  REQUIRE(two.queries.size() == 1);
  CHECK(bed.answers.empty());
  bed.wait(DnsForwarder::kTry_ns);
  CHECK(bed.only_address() == ip("192.0.2.1"));
  CHECK(one.queries.size() == 2);
  CHECK(two.queries.size() == 2);
  CHECK(one.ports[0] == one.ports[1]);
}

TEST_CASE("nobody answers: one failure, in time for the guest's resolver") {
  Forward bed;
  SUBCASE("silence") {
    FakeNameserver one(bed.loop, "127.0.0.1", kSilent);
    bed.ask(dns_query("example.com"), {server("127.0.0.1")});
    for (int i = 0; i < 10; ++i) bed.wait(500 * kMillisecond_ns);
    REQUIRE(bed.failures.size() == 1);
    CHECK(bed.failures[0].errno_value == 0);
    CHECK(bed.failures[0].server->address == ip("127.0.0.1"));
    CHECK(bed.failures[0].waited_ns == DnsForwarder::kQuery_ns_max);
    CHECK(one.queries.size() == 5);
  }
  SUBCASE("refusal by all") {
    bed.ask(dns_query("example.com"), {server("127.0.0.1"), server("127.0.0.2")});
    REQUIRE(bed.failures.size() == 1);
    CHECK(bed.failures[0].errno_value == ECONNREFUSED);
    CHECK(bed.failures[0].server->address == ip("127.0.0.1"));
  }
  SUBCASE("no route") {
    bed.ask(dns_query("example.com"), {server("192.0.2.1"), server("2001:db8::1")});
    REQUIRE(bed.failures.size() == 1);
    CHECK(bed.failures[0].errno_value == ENETUNREACH);
  }
  SUBCASE("nobody to ask") {
    bed.ask(dns_query("example.com"), {});
    REQUIRE(bed.failures.size() == 1);
    CHECK_FALSE(bed.failures[0].server);
  }
  CHECK(bed.answers.empty());
  CHECK(bed.forwarder.pending_count() == 0);
}

TEST_CASE("a server's own failure is passed over, and passed on when there is nothing better") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", saying("", {.rcode = kDnsServerFailure}));
  SUBCASE("another one knows") {
    FakeNameserver two(bed.loop, "127.0.0.2", saying("192.0.2.2"));
    bed.ask(dns_query("example.com"), {server("127.0.0.1"), server("127.0.0.2")});
    CHECK(bed.only_address() == ip("192.0.2.2"));
  }
  SUBCASE("nobody knows") {
    bed.ask(dns_query("example.com"), {server("127.0.0.1"), server("127.0.0.2")});
    REQUIRE(bed.answers.size() == 1);
    CHECK(parse_dns(bed.answers[0])->rcode == kDnsServerFailure);
  }
  SUBCASE("\"no such name\" is an answer") {
    FakeNameserver two(bed.loop, "127.0.0.2", saying("", {.rcode = kDnsNameError}));
    FakeNameserver three(bed.loop, "127.0.0.3", saying("192.0.2.3"));
    bed.ask(dns_query("example.com"), {server("127.0.0.2"), server("127.0.0.3")});
    REQUIRE(bed.answers.size() == 1);
    CHECK(parse_dns(bed.answers[0])->rcode == kDnsNameError);
    CHECK(three.queries.empty());
  }
}

TEST_CASE("a truncated answer is fetched whole over TCP") {
  Forward bed;
  const auto whole = saying("192.0.2.1", {.padding_records = 5});
  FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.9", {.truncated = true}),
                     Stream::kListens, whole);
  DnsClient client = udp_client();
  SUBCASE("for a guest that takes it") {
    client.udp_bytes_max = 4096;
    bed.ask(dns_query("example.com"), {server("127.0.0.1")}, client);
    CHECK(bed.only_address() == ip("192.0.2.1"));
    CHECK(bed.answers[0].size() > 1000);
    CHECK(parse_dns(bed.answers[0])->id == 0x1234);
  }
  SUBCASE("for one that does not: the truncated one tells it to come by TCP") {
    bed.ask(dns_query("example.com"), {server("127.0.0.1")}, client);
    CHECK(bed.only_address() == ip("192.0.2.9"));
    CHECK(parse_dns(bed.answers[0])->truncated);
  }
  SUBCASE("a guest over TCP asks over TCP") {
    client.connection = 1;
    bed.ask(dns_query("example.com"), {server("127.0.0.1")}, client);
    CHECK(bed.only_address() == ip("192.0.2.1"));
    CHECK(one.queries.empty());
  }
  CHECK(one.stream_queries.size() == 1);
  CHECK(bed.forwarder.pending_count() == 0);
}

TEST_CASE("a nameserver without TCP") {
  Forward bed;
  SUBCASE("serves guests over TCP by UDP") {
    FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.1"));
    DnsClient client = udp_client();
    client.connection = 1;
    bed.ask(dns_query("example.com"), {server("127.0.0.1")}, client);
    CHECK(bed.only_address() == ip("192.0.2.1"));
  }
  SUBCASE("truncates: what came is passed on") {
    FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.1", {.truncated = true}));
    bed.ask(dns_query("example.com"), {server("127.0.0.1")});
    CHECK(bed.only_address() == ip("192.0.2.1"));
    CHECK(one.queries.size() == 1);
  }
}

TEST_CASE("streams that end early, lie about their length or answer something else") {
  Forward bed;
  DnsClient client = udp_client();
  client.connection = 1;
  const auto run = [&](const FakeNameserver::Answers& tcp) {
    FakeNameserver one(bed.loop, "127.0.0.1", saying("192.0.2.1"), Stream::kListens, tcp);
    bed.ask(dns_query("example.com"), {server("127.0.0.1")}, client);
    CHECK(one.stream_queries.size() == 1);
  };
  SUBCASE("another question") {
    run([](const Bytes&) {
      return std::vector<Bytes>{dns_answer(dns_query("example.net"), "192.0.2.66")};
    });
    CHECK(bed.forwarder.forged_count() == 1);
    CHECK(bed.only_address() == ip("192.0.2.1"));  // by UDP, then
  }
  SUBCASE("an empty message") {
    run([](const Bytes&) { return std::vector<Bytes>{Bytes{}}; });
    CHECK(bed.only_address() == ip("192.0.2.1"));
  }
}

TEST_CASE("forged answers are passed over") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", [](const Bytes& query) {
    Bytes other_id = dns_answer(query, "192.0.2.66");
    other_id[0] ^= 1U;
    Bytes question = query;
    question[13] = 'f';
    Bytes other_type = dns_answer(query, "192.0.2.66");
    other_type[dns_question(query)->size() - 3] = 28;
    return std::vector<Bytes>{other_id, dns_answer(question, "192.0.2.66"),      other_type, query,
                              Bytes{},  Bytes(query.begin(), query.begin() + 11)};
  });
  bed.ask(dns_query("example.com"), {server("127.0.0.1")});
  CHECK(bed.answers.empty());
  CHECK(bed.forwarder.forged_count() == 6);
  CHECK(bed.forwarder.pending_count() == 1);
}

TEST_CASE("damaged answers, at random: taken or passed over, never more") {
  Forward bed;
  std::mt19937 random(20260803);
  const auto damage = [&](const Bytes& query) {
    Bytes answer = dns_answer(query, "192.0.2.1", {.padding_records = random() % 3});
    for (size_t i = random() % 4; i > 0; --i) {
      answer[random() % answer.size()] = static_cast<uint8_t>(random());
    }
    if (random() % 4 == 0) answer.resize(random() % answer.size());
    return std::vector<Bytes>{answer};
  };
  FakeNameserver one(bed.loop, "127.0.0.1", damage, Stream::kListens, damage);
  for (uint16_t i = 0; i < 3000; ++i) {
    DnsClient client = udp_client();
    client.connection = i % 2;
    bed.ask(dns_query("example.com", 1, i), {server("127.0.0.1")}, client);
    if (bed.forwarder.pending_count() > 0) bed.wait(DnsForwarder::kQuery_ns_max);
    REQUIRE(bed.forwarder.pending_count() == 0);
  }
  CHECK(bed.answers.size() + bed.failures.size() == 3000);
  CHECK(bed.answers.size() > 1000);
  CHECK(bed.forwarder.forged_count() > 100);
}

TEST_CASE("an answer from elsewhere never arrives") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", kSilent);
  FakeNameserver two(bed.loop, "127.0.0.2", kSilent);
  bed.ask(dns_query("example.com"), {server("127.0.0.1")});
  REQUIRE(one.queries.size() == 1);
  const Fd stranger(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage to{};
  const socklen_t bytes = to_sockaddr(ip("127.0.0.1"), one.ports[0], to);
  const Bytes forged = dns_answer(one.queries[0], "192.0.2.66");  // right id, right port
  ::sendto(stranger.get(), forged.data(), forged.size(), 0, reinterpret_cast<sockaddr*>(&to),
           bytes);
  bed.run();
  CHECK(bed.answers.empty());
  CHECK(bed.forwarder.forged_count() == 0);  // the kernel kept it away
}

TEST_CASE("a guest that repeats itself asks once") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", kSilent);
  for (int i = 0; i < 5; ++i) bed.ask(dns_query("example.com"), {server("127.0.0.1")});
  CHECK(bed.forwarder.pending_count() == 1);
  CHECK(one.queries.size() == 1);
  bed.ask(dns_query("example.com"), {server("127.0.0.1")}, udp_client("10.0.2.16"));
  bed.ask(dns_query("example.com", 1, 99), {server("127.0.0.1")});
  CHECK(bed.forwarder.pending_count() == 3);
}

TEST_CASE("too many questions: the guest that asks most loses its oldest") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", kSilent);
  bed.ask(dns_query("quiet.example"), {server("127.0.0.1")}, udp_client("10.0.2.16"));
  for (uint16_t i = 0; i < DnsForwarder::kPendingMax + 50; ++i) {
    bed.ask(dns_query("noisy.example", 1, i), {server("127.0.0.1")}, udp_client("10.0.2.15", 1));
  }
  CHECK(bed.forwarder.pending_count() == DnsForwarder::kPendingMax);
  REQUIRE(bed.evicted.size() == 51);
  for (const DnsClient& client : bed.evicted) CHECK(client.guest == ip("10.0.2.15"));
}

TEST_CASE("a guest's connection ends: so do its questions") {
  Forward bed;
  FakeNameserver one(bed.loop, "127.0.0.1", kSilent, Stream::kListens, kSilent);
  DnsClient client = udp_client();
  client.connection = 5;
  bed.ask(dns_query("example.com"), {server("127.0.0.1")}, client);
  CHECK(bed.forwarder.pending_count() == 1);
  bed.forwarder.forget_connection(5);
  CHECK(bed.forwarder.pending_count() == 0);
  bed.wait(10 * kSecond_ns);
  CHECK(bed.answers.empty());
  CHECK(bed.failures.empty());
}
