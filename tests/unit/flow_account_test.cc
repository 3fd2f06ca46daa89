#include "netstack/flows/flow_account.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "netstack/flows/name_book.h"
#include "netstack/wire/tcp.h"
#include "tests/packets/packets.h"

using namespace netstack;
using packets::Builder;
using packets::Bytes;

namespace {

constexpr auto kGuest = "52:54:00:00:00:01";
constexpr auto kGateway = "52:55:0a:00:02:02";

struct Book {
  explicit Book(size_t flows_max = 64) : account(loop, flows_max) {
    account.watch([this](const Flow& flow) { ended.push_back(flow); });
  }

  static FlowKey key(uint16_t port, Protocol protocol = Protocol::kUdp,
                     const char* peer = "192.0.2.1") {
    return {packets::ip("10.0.2.15"), packets::ip(peer), port, 443, protocol};
  }
  static Mac guest(uint8_t number) { return {{0x52, 0x54, 0, 0, 0, number}}; }
  Flow* open(uint16_t port, Protocol protocol = Protocol::kUdp, uint8_t guest_number = 1,
             PortId lan_port = 0) {
    return account.open(
        {.key = key(port, protocol), .guest_mac = guest(guest_number), .lan_port = lan_port});
  }
  // Opens until it may not; returns how many.
  size_t fill(uint16_t first_port, PortId lan_port, std::function<uint8_t(size_t)> guest_of) {
    size_t count = 0;
    while (open(static_cast<uint16_t>(first_port + count), Protocol::kUdp, guest_of(count),
                lan_port) != nullptr) {
      ++count;
    }
    return count;
  }
  void packet(Flow& flow, bool from_guest, uint8_t flags = 0) {
    account.count(flow, {.key = flow.key, .bytes = 100, .tcp_flags = flags}, from_guest);
  }
  void pass_s(uint64_t seconds) {
    clock.advance_ns(seconds * kSecond_ns);
    account.begin_burst();
    loop.tick(0);
  }
  FlowState state(uint16_t port, Protocol protocol = Protocol::kUdp) {
    const Flow* flow = account.find(key(port, protocol));
    return flow == nullptr ? FlowState::kCount : flow->outcome();
  }

  ManualClock clock;
  Loop loop{clock};
  FlowAccount account;
  std::vector<Flow> ended;
};

std::optional<FlowPacket> read(const Builder& builder, bool from_guest) {
  static Bytes frame;
  frame = builder.build();
  const auto packet = from_guest ? parse_guest_packet(frame) : parse_towards_guest(frame);
  REQUIRE(packet);
  return read_flow_packet(*packet, from_guest);
}

}  // namespace

TEST_CASE("the two directions of a flow have one key") {
  struct Row {
    Builder out;
    Builder in;
  };
  const std::vector<Row> rows = {
      {Builder().eth(kGuest, kGateway).ip("10.0.2.15", "192.0.2.1").tcp(1000, 80, kTcpSyn),
       Builder()
           .eth(kGateway, kGuest)
           .ip("192.0.2.1", "10.0.2.15")
           .tcp(80, 1000, kTcpSyn | kTcpAck)},
      {Builder().eth(kGuest, kGateway).ip("10.0.2.15", "192.0.2.1").udp(1000, 80).payload("x"),
       Builder().eth(kGateway, kGuest).ip("192.0.2.1", "10.0.2.15").udp(80, 1000).payload("x")},
      {Builder().eth(kGuest, kGateway).ip("fec0::15", "2001:db8::1").echo_request(7, 1),
       Builder().eth(kGateway, kGuest).ip("2001:db8::1", "fec0::15").echo_reply(7, 1)},
  };
  for (const Row& row : rows) {
    const auto out = read(row.out, true);
    const auto in = read(row.in, false);
    REQUIRE(out);
    REQUIRE(in);
    CHECK(out->key == in->key);
    CHECK(out->opens);
  }
  CHECK_FALSE(read(rows[0].in, false)->opens);
  CHECK(read(rows[1].in, false)->opens);  // UDP: a forward's first packet looks the same
  CHECK_FALSE(read(rows[2].in, false)->opens);
}

TEST_CASE("no flow: fragments, DHCP, echo replies of the guest, what is cut short") {
  const auto to = [] { return Builder().eth(kGuest, kGateway).ip("10.0.2.15", "10.0.2.2"); };
  CHECK_FALSE(read(to().echo_reply(1, 1), true));
  CHECK_FALSE(read(to().udp(68, 67).payload("x"), true));
  CHECK(read(to().udp(1000, 67).payload("x"), true));
  CHECK_FALSE(read(to().fragment(0, true).udp(1, 2).payload("12345678"), true));
  CHECK_FALSE(read(to().protocol(17).payload("1234567"), true));
  CHECK_FALSE(read(to().protocol(6).payload("1234567890"), true));
  CHECK_FALSE(read(to().protocol(47).payload("1234567890"), true));
}

TEST_CASE("an ICMP error is about the flow it quotes") {
  const Bytes quoted = Builder().ip("10.0.2.15", "192.0.2.1").udp(1000, 80).payload("x").build_ip();
  for (const uint8_t code : {uint8_t{0}, uint8_t{3}}) {
    const Bytes error =
        make_icmp_error(packets::ip("10.0.2.2"), packets::ip("10.0.2.15"), 3, code, 0, quoted);
    Bytes frame = Builder().eth(kGateway, kGuest).ip_packet(error).build();
    const auto packet = parse_towards_guest(frame);
    REQUIRE(packet);
    const auto seen = read_flow_error(*packet);
    REQUIRE(seen);
    CHECK(seen->key ==
          FlowKey{packets::ip("10.0.2.15"), packets::ip("192.0.2.1"), 1000, 80, Protocol::kUdp});
    CHECK(seen->refused == (code == 3));
    for (size_t size = 28; size < 28 + 28; ++size) {  // whatever is cut off the quote
      const Bytes cut = make_icmp_error(packets::ip("10.0.2.2"), packets::ip("10.0.2.15"), 3, code,
                                        0, std::span(quoted).first(size - 28));
      Bytes cut_frame = Builder().eth(kGateway, kGuest).ip_packet(cut).build();
      const auto cut_packet = parse_towards_guest(cut_frame);
      if (cut_packet) CHECK(read_flow_error(*cut_packet).has_value() == (size - 28 >= 28));
    }
  }
}

TEST_CASE("which ICMP errors end what they quote, over IPv4 and IPv6") {
  struct Row {
    uint8_t type;
    uint8_t code;
    bool counts;
    bool hop_limit = false;
  };
  const auto check_rows = [](const char* router, const char* guest, const char* peer,
                             const std::vector<Row>& rows) {
    const Bytes quoted = Builder().ip(guest, peer).udp(1000, 33'434).payload("x").build_ip();
    for (const Row& row : rows) {
      CAPTURE(router);
      CAPTURE(static_cast<int>(row.type));
      const Bytes error =
          make_icmp_error(packets::ip(router), packets::ip(guest), row.type, row.code, 0, quoted);
      Bytes frame = Builder().eth(kGateway, kGuest).ip_packet(error).build();
      const auto packet = parse_towards_guest(frame);
      REQUIRE(packet);
      const auto seen = read_flow_error(*packet);
      CHECK(seen.has_value() == row.counts);
      if (seen) CHECK(seen->hop_limit == row.hop_limit);
      if (seen) CHECK_FALSE(seen->refused);
    }
  };
  check_rows("10.0.2.2", "10.0.2.15", "192.0.2.1",
             {{3, 1, true}, {3, 4, true}, {11, 0, true, true}, {11, 1, false}, {12, 0, false}});
  check_rows("fec0::2", "fec0::15", "2001:db8::1",
             {{1, 0, true}, {2, 0, true}, {3, 0, true, true}, {3, 1, false}, {4, 1, false}});
}

TEST_CASE("TCP: opening, established, closed a moment after both ends have") {
  Book book;
  constexpr auto kTcp = Protocol::kTcp;
  Flow* flow = book.open(1, kTcp);
  REQUIRE(flow != nullptr);
  book.packet(*flow, true, kTcpSyn);
  CHECK(book.state(1, kTcp) == FlowState::kOpening);
  book.packet(*flow, false, kTcpSyn | kTcpAck);
  CHECK(book.state(1, kTcp) == FlowState::kEstablished);
  book.packet(*flow, true, kTcpFin | kTcpAck);
  book.packet(*flow, false, kTcpFin | kTcpAck);
  book.packet(*flow, true, kTcpAck);
  CHECK(book.ended.empty());
  book.pass_s(3);
  REQUIRE(book.ended.size() == 1);
  CHECK(book.ended[0].state == FlowState::kClosed);
  CHECK(book.ended[0].out.packets == 3);
  CHECK(book.ended[0].out.bytes == 300);
  CHECK(book.ended[0].in.packets == 2);
  CHECK(book.account.live_count() == 0);
  CHECK(book.state(1, kTcp) == FlowState::kClosed);  // stays on record
}

TEST_CASE("TCP: a reset before the answer is a refusal, afterwards an end") {
  Book book;
  constexpr auto kTcp = Protocol::kTcp;
  Flow* flow = book.open(1, kTcp);
  book.packet(*flow, true, kTcpSyn);
  book.packet(*flow, false, kTcpRst | kTcpAck);
  flow = book.open(2, kTcp);
  book.packet(*flow, true, kTcpSyn);
  book.packet(*flow, false, kTcpSyn | kTcpAck);
  book.packet(*flow, false, kTcpRst);
  flow = book.open(3, kTcp);
  book.packet(*flow, true, kTcpSyn);
  book.packet(*flow, true, kTcpRst);
  CHECK(book.state(1, kTcp) == FlowState::kRefused);
  CHECK(book.state(2, kTcp) == FlowState::kClosed);
  CHECK(book.state(3, kTcp) == FlowState::kClosed);  // the guest gave up
  CHECK(book.ended.size() == 3);
}

TEST_CASE("silence ends a flow, each kind after its own time") {
  struct Row {
    Protocol protocol;
    uint16_t peer_port;
    bool answered;
    uint64_t silence_ns;
    FlowState state;
  };
  using A = FlowAccount;
  const std::vector<Row> rows = {
      {Protocol::kTcp, 80, false, A::kTcpOpening_ns, FlowState::kTimedOut},
      {Protocol::kTcp, 80, true, A::kTcp_ns, FlowState::kTimedOut},
      {Protocol::kUdp, 80, false, A::kUdp_ns, FlowState::kTimedOut},
      {Protocol::kUdp, 80, true, A::kUdp_ns, FlowState::kClosed},
      {Protocol::kUdp, 53, false, A::kUdp_ns, FlowState::kTimedOut},
      {Protocol::kUdp, 53, true, A::kUdpDns_ns, FlowState::kClosed},
      {Protocol::kIcmpEcho, 0, false, A::kEcho_ns, FlowState::kTimedOut},
      {Protocol::kIcmpEcho, 0, true, A::kEcho_ns, FlowState::kClosed},
  };
  for (const Row& row : rows) {
    CAPTURE(static_cast<int>(row.protocol));
    CAPTURE(row.answered);
    Book book;
    FlowKey key = Book::key(1, row.protocol);
    key.peer_port = row.peer_port;
    Flow* flow = book.account.open({.key = key, .guest_mac = Book::guest(1)});
    book.packet(*flow, true, kTcpSyn);
    book.clock.advance_ns(5 * kSecond_ns);  // and alive again: silence begins here
    book.account.begin_burst();
    book.packet(*flow, !row.answered, kTcpAck);
    book.clock.advance_ns(row.silence_ns - kSecond_ns);
    book.loop.tick(0);
    CHECK(book.ended.empty());
    book.pass_s(3);
    REQUIRE(book.ended.size() == 1);
    CHECK(book.ended[0].state == row.state);
    CHECK((book.ended[0].cause == Cause::kNoAnswer) == !row.answered);
    CHECK(book.loop.next_deadline_ns() == UINT64_MAX);  // nothing lives: nothing to wake up for
  }
}

TEST_CASE("UDP and echo go on after an error; the first answer outweighs it") {
  Book book;
  Flow* flow = book.open(1);
  book.packet(*flow, true);
  book.account.fail(*flow, FlowState::kUnreachable, Cause::kNoDefaultRoute);
  CHECK(book.state(1) == FlowState::kUnreachable);
  CHECK(book.ended.empty());
  book.packet(*flow, true);
  CHECK(book.account.live_count() == 1);
  Flow* other = book.open(2);
  book.packet(*other, true);
  book.account.fail(*other, FlowState::kRefused, Cause::kPortClosed);
  book.packet(*other, false);
  CHECK(book.state(2) == FlowState::kEstablished);
  CHECK_FALSE(other->cause);
  book.pass_s(FlowAccount::kFailed_ns / kSecond_ns + 2);
  REQUIRE(book.ended.size() == 1);
  CHECK(book.ended[0].state == FlowState::kUnreachable);
  CHECK(book.ended[0].cause == Cause::kNoDefaultRoute);
  CHECK(book.ended[0].out.packets == 2);
}

TEST_CASE("a guest may have so many flows that others still find room, at its port and at others") {
  const auto always = [](uint8_t guest) { return [guest](size_t) { return guest; }; };
  Book book(1300);
  CHECK(book.fill(0, 1, always(1)) == 900);
  CHECK(book.fill(1000, 1, always(2)) == 70);  // of the 75 that its port may still have
  CHECK(book.fill(2000, 2, always(3)) == 229);
  CHECK(book.fill(3000, 3, always(4)) > 60);
  CHECK(book.account.counters().over_limit == 4);
  book.account.end(*book.account.find(Book::key(0)), FlowState::kClosed);
  CHECK(book.open(0, Protocol::kUdp, 4, 3) != nullptr);  // what one gives back is for all
}

TEST_CASE("a guest with a new MAC for each flow takes no more than its port's share") {
  Book book(1600);
  const auto forged = [](size_t count) { return static_cast<uint8_t>(10 + count % 240); };
  CHECK(book.fill(0, 1, forged) == 1200);
  CHECK(book.open(5000, Protocol::kUdp, 7, 1) == nullptr);  // nobody else at its port
  const size_t other = book.fill(6000, 2, [](size_t) { return uint8_t{1}; });
  CHECK(other == 277);
  for (uint16_t port = 0; port < 1200; ++port) {
    book.account.end(*book.account.find(Book::key(port)), FlowState::kClosed);
  }
  for (uint16_t port = 6000; port < 6000 + other; ++port) {
    book.account.end(*book.account.find(Book::key(port)), FlowState::kClosed);
  }
  CHECK(book.account.live_count() == 0);
  CHECK(book.fill(0, 1, forged) == 1200);  // nothing of it is left
}

TEST_CASE("what a guest that has left leaves behind is not counted for the next one at its port") {
  Book book(1600);
  const auto one = [](size_t) { return uint8_t{1}; };
  const size_t alone = book.fill(0, 1, one);
  const size_t beside = book.fill(6000, 2, one);
  for (uint16_t port = 6000; port < 6000 + beside; ++port) {
    book.account.end(*book.account.find(Book::key(port)), FlowState::kClosed);
  }
  book.account.leave(1);
  CHECK(book.account.live_count() == alone);
  CHECK(book.fill(6000, 1, one) == beside);  // as at a port that nobody had before
  for (uint16_t port = 0; port < alone; ++port) {
    book.account.end(*book.account.find(Book::key(port)), FlowState::kClosed);
  }
  CHECK(book.account.live_count() == beside);
}

TEST_CASE("connections that both sides have closed take nothing of a guest's share") {
  Book book(1300);
  for (uint16_t port = 0; port < 5000; ++port) {
    Flow* flow = book.open(port, Protocol::kTcp);
    REQUIRE(flow != nullptr);
    if (port < 500) continue;  // stays open
    book.packet(*flow, true, kTcpFin);
    book.packet(*flow, false, kTcpFin);
  }
  CHECK(book.account.counters().over_limit == 0);
  CHECK(book.account.live_count() == 900);
  book.pass_s(3);
  CHECK(book.account.live_count() == 500);
}

TEST_CASE("ended flows make room, the one that ended first goes first") {
  Book book(64);
  for (uint16_t port = 0; port < 64; ++port) {
    book.account.end(*book.open(port), FlowState::kClosed);
  }
  for (uint16_t port = 100; port < 110; ++port) REQUIRE(book.open(port) != nullptr);
  for (uint16_t port = 0; port < 64; ++port) {
    CHECK((book.account.find(Book::key(port)) != nullptr) == (port >= 10));
  }
  CHECK(book.account.report().rows().begin()->second.flows_count == 74);  // none is lost to the sum
}

TEST_CASE("a denied flow is one flow however often it is tried") {
  Book book;
  for (int i = 0; i < 5; ++i) {
    book.account.deny({.key = Book::key(1), .guest_mac = Book::guest(1)},
                      {.key = Book::key(1), .bytes = 60}, Cause::kPolicyDenied,
                      "rule 1 (deny any)");
  }
  REQUIRE(book.ended.size() == 1);
  CHECK(book.ended[0].rule == "rule 1 (deny any)");
  CHECK(book.account.live_count() == 0);
  const EgressBook report = book.account.report();
  REQUIRE(report.rows().size() == 1);
  const auto& [key, row] = *report.rows().begin();
  CHECK(key.place == "192.0.2.1");
  CHECK(row.flows_count == 1);
  CHECK(row.out.packets == 5);
  CHECK(row.causes.at(Cause::kPolicyDenied) == 1);
}

TEST_CASE("a full account of live flows still tells what it denies") {
  Book book(64);
  for (uint16_t port = 0; book.account.live_count() < 64; ++port) {
    book.open(port, Protocol::kUdp, 1, port);
  }
  book.account.deny({.key = Book::key(999), .guest_mac = Book::guest(1)},
                    {.key = Book::key(999), .bytes = 60}, Cause::kFlowLimit, {});
  REQUIRE(book.ended.size() == 1);
  CHECK(book.ended[0].cause == Cause::kFlowLimit);
}

TEST_CASE("the report groups by name, port and protocol, and leaves the inside out") {
  Book book;
  const auto add = [&](FlowKey key, const char* name, bool inward, bool service) {
    Flow* flow = book.account.open({.key = key,
                                    .guest_mac = Book::guest(1),
                                    .name = name,
                                    .inward = inward,
                                    .service = service});
    book.packet(*flow, true);
  };
  add(Book::key(1, Protocol::kUdp, "192.0.2.1"), "example.org", false, false);
  add(Book::key(2, Protocol::kUdp, "192.0.2.2"), "example.org", false, false);
  add(Book::key(3, Protocol::kUdp, "192.0.2.1"), "", false, false);
  add(Book::key(4, Protocol::kUdp, "10.0.2.2"), "", true, false);
  add(Book::key(5, Protocol::kUdp, "10.0.2.3"), "", false, true);
  book.account.end_question("example.org", Book::guest(1), FlowState::kClosed);
  book.account.deny_question(Book::key(9), Book::guest(1), "ads.example", Cause::kPolicyDenied,
                             "rule 1 (deny x)");
  const EgressBook report = book.account.report();
  REQUIRE(report.rows().size() == 4);
  const auto& named = report.rows().at({"example.org", 443, Protocol::kUdp, false});
  CHECK(named.flows_count == 2);
  CHECK(named.addresses.size() == 2);
  CHECK(named.named);
  CHECK(report.rows().at({"192.0.2.1", 443, Protocol::kUdp, false}).flows_count == 1);
  CHECK(report.rows().at({"ads.example", 0, Protocol::kUdp, true}).count(FlowState::kDenied) == 1);
}

TEST_CASE("places beyond the book's limit are counted") {
  EgressBook book;
  Flow flow;
  for (uint32_t i = 0; i < EgressBook::kRowsMax + 10; ++i) {
    flow.key.peer = IpAddress::v4(i);
    book.add(flow);
  }
  CHECK(book.rows().size() == EgressBook::kRowsMax);
  CHECK(book.unlisted_count() == 10);
}

TEST_CASE("the table agrees with a map, whatever comes and goes") {
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  FlowTable table(64);
  std::map<uint16_t, FlowTable::Place> model;
  for (int step = 0; step < 20'000; ++step) {
    const auto port = static_cast<uint16_t>(random() % 200);
    const auto found = model.find(port);
    REQUIRE((table.find(Book::key(port)) != FlowTable::kNowhere) == (found != model.end()));
    if (found != model.end()) {
      if (random() % 2 == 0) {
        table.move_to_end(found->second, static_cast<uint8_t>(random() % 3), 0);
        continue;
      }
      table.erase(found->second);
      model.erase(found);
    } else {
      const auto place = table.add(Book::key(port), static_cast<uint8_t>(random() % 3), 0);
      REQUIRE((place == FlowTable::kNowhere) == (model.size() == 64));
      if (place != FlowTable::kNowhere) model[port] = place;
    }
    REQUIRE(table.size() == model.size());
  }
  size_t listed = 0;
  for (uint8_t list = 0; list < 3; ++list) {
    for (auto at = table.first(list); at != FlowTable::kNowhere; at = table.at(at).next) ++listed;
  }
  CHECK(listed == model.size());
}

TEST_CASE("names: the last one asked for, four at most, each guest its own") {
  NameBook book;
  const auto one = Book::guest(1);
  const std::vector<IpAddress> address = {packets::ip("192.0.2.1")};
  for (const char* name : {"a", "b", "c", "d", "e", "b"}) book.learn(one, name, address);
  const auto names = book.names(one, address[0]);
  CHECK(std::vector<std::string>(names.begin(), names.end()) ==
        std::vector<std::string>{"c", "d", "e", "b"});
  CHECK(book.names(Book::guest(2), address[0]).empty());
  for (uint32_t i = 0; i < NameBook::kAddressesMax; ++i) {
    const std::vector<IpAddress> next = {IpAddress::v4(i)};
    book.learn(one, "x", next);
  }
  CHECK(book.names(one, address[0]).empty());
  CHECK(book.names(one, IpAddress::v4(0)).size() == 1);
  for (uint32_t i = 0; i < NameBook::kGuestsMax; ++i) {
    const Mac mac{{2, 0, 0, 0, 1, static_cast<uint8_t>(i)}};
    book.learn(mac, "y", address);
  }
  CHECK(book.names(one, IpAddress::v4(0)).empty());
}
