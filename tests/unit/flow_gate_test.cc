// Policy and account where they belong: in the gateway, with a guest played by the test.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/names_bed.h"

using namespace tests;

namespace {

constexpr auto kDnsMac = "52:55:0a:00:02:03";

NamesConfig with_hosts(const std::vector<std::string>& hosts) {
  NamesConfig names;
  for (const std::string& text : hosts) names.hosts.push_back(HostEntry::parse(text));
  return names;
}

// A gateway with rules, a leading ! denies, and the events it gives.
struct GateBed : NamesBed {
  explicit GateBed(const std::vector<std::string>& rules, NamesConfig names = {},
                   bool restricted = false)
      : NamesBed("", std::move(names)) {
    remake(rules, restricted);
  }

  void remake(const std::vector<std::string>& rules, bool restricted) {
    for (const std::string& text : rules) {
      const bool deny = text.starts_with('!');
      config.policy.rules.push_back(
          PolicyRule::parse(deny ? PolicyRule::Action::kDeny : PolicyRule::Action::kAllow,
                            std::string_view(text).substr(deny ? 1 : 0)));
    }
    config.policy.restricted = restricted;
    gateway.reset();
    gateway.emplace(loop, config, log);
    gateway->attach(guest, 1);
    gateway->flows().watch([this](const Flow& flow) { ended.push_back(flow); });
    send(Builder().eth(kGuest, kEverybody).arp_request("10.0.2.15", "10.0.2.2"));
    guest.frames.clear();
  }
  std::vector<const Flow*> recent(const std::function<bool(const Flow&)>& wanted) {
    std::vector<const Flow*> flows;
    for (const FlowAccount::Ref& ref : gateway->flows().recent(SIZE_MAX, wanted)) {
      flows.push_back(gateway->flows().find(ref));
    }
    return flows;
  }
  std::vector<const Flow*> to_peer(const char* peer) {
    return recent([&](const Flow& flow) { return flow.key.peer == ip(peer); });
  }
  // The outcome of one flow, by who the guest wanted to reach.
  FlowState state(const char* peer) {
    const auto flows = to_peer(peer);
    return flows.empty() ? FlowState::kCount : flows[0]->outcome();
  }
  Bytes query(const std::string& name, uint16_t id = 7) const {
    return *make_dns_query(name, DnsType::kA, id);
  }
  bool answered_prohibited(const Builder& packet) {
    send(packet);
    const Parsed answer = only();
    return answer.icmp && answer.icmp->type == kIcmpUnreachable && answer.icmp->code == 13;
  }
  void run_real(int ticks = 12) {
    for (int i = 0; i < ticks; ++i) loop.tick(2 * kMillisecond_ns);
  }

  // The next SYN the gateway sends to the guest's port 22.
  Parsed inward_syn() {
    for (int i = 0; i < 500; ++i) {
      for (const Bytes& frame : take()) {
        const Parsed parsed = packets::parse_frame(frame);
        if (parsed.tcp && parsed.tcp->flags == kTcpSyn && parsed.tcp->destination_port == 22) {
          return parsed;
        }
      }
      clock.advance_ns(10 * kMillisecond_ns);
      run_real(1);
    }
    FAIL("the gateway leads nobody to the guest");
    return {};
  }

  std::vector<Flow> ended;
};

Builder to(const char* address) {
  return Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", address);
}
Builder syn(const char* address, uint16_t port = 443, uint16_t from = 1000) {
  return to(address).tcp(from, port, kTcpSyn, 100);
}

Fd listener(uint16_t& port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(socket.get(), 8) == 0);
  socklen_t bytes = sizeof address;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
  port = ntohs(address.sin_port);
  return socket;
}

}  // namespace

TEST_CASE("denied: the guest is told at once, the log names the rule, once") {
  GateBed bed({"!tcp:192.0.2.0/24:443"});
  for (int i = 0; i < 3; ++i) CHECK(bed.answered_prohibited(syn("192.0.2.1")));
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(bed.log.lines[0] ==
        "10.0.2.15 → 192.0.2.1:443 tcp: denied by this LAN's policy: rule 1 (deny "
        "tcp:192.0.2.0/24:443) denies 192.0.2.1. The guest is told \"Packet filtered\". Try: "
        "--allow tcp:192.0.2.1:443 in front of it.");
  REQUIRE(bed.ended.size() == 1);
  CHECK(bed.ended[0].cause == Cause::kPolicyDenied);
  CHECK(bed.ended[0].out.packets == 1);
  CHECK(bed.state("192.0.2.1") == FlowState::kDenied);
  bed.send(syn("192.0.2.1", 80));  // another port: only unreachable
  CHECK(bed.only().icmp->code == 0);
  CHECK(bed.ended.back().state == FlowState::kUnreachable);
  CHECK(bed.ended.back().cause == Cause::kOnlyLoopback);
}

TEST_CASE("an allow list: UDP, echo and IPv6 outside it are prohibited, the gateway's DNS is not") {
  GateBed bed({"tcp:192.0.2.1:443"}, with_hosts({"db=10.0.2.20"}));
  CHECK(bed.answered_prohibited(to("192.0.2.1").udp(1000, 443).payload("x")));
  CHECK(bed.answered_prohibited(to("192.0.2.1").echo_request(1, 1)));
  CHECK(bed.answered_prohibited(syn("10.0.2.2", 22)));
  bed.send(Builder().eth(kGuest, kGatewayMac6).ip("fec0::15", "2001:db8::1").tcp(9, 80, kTcpSyn));
  const Parsed answer6 = bed.only();
  REQUIRE(answer6.icmp);
  CHECK(answer6.icmp->type == kIcmpv6Unreachable);
  CHECK(answer6.icmp->code == 1);
  bed.send(syn("192.0.2.1"));
  CHECK(bed.only().icmp->code == 0);  // allowed, and unreachable
  CHECK(bed.answer(bed.query("db.lan")).addresses == std::vector<IpAddress>{ip("10.0.2.20")});
  bed.send(to("10.0.2.2").echo_request(1, 1));
  CHECK(bed.only().icmp->echo->reply);
}

TEST_CASE("a rule by name goes by what the guest was told") {
  GateBed bed({"tcp:db.example.org:443"},
              with_hosts({"db.example.org=192.0.2.9", "other.example.org=192.0.2.10"}));
  CHECK(bed.answered_prohibited(syn("192.0.2.9")));  // it has not asked
  CHECK(bed.answer(bed.query("db.Example.org")).addresses.size() == 1);
  bed.send(syn("192.0.2.9"));
  CHECK(bed.only().icmp->code == 0);
  const auto flows = bed.recent([](const Flow&) { return true; });
  CHECK(flows[0]->name == "db.example.org");
  CHECK(bed.answered_prohibited(syn("192.0.2.9", 80)));
  bed.answer(bed.query("other.example.org"));
  CHECK(bed.answered_prohibited(syn("192.0.2.10")));
  CHECK(bed.log.lines.back().find("no rule allows other.example.org (192.0.2.10)") !=
        std::string::npos);
  CHECK(bed.log.lines.back().find("Try: --allow tcp:other.example.org:443.") != std::string::npos);
}

TEST_CASE("a question nothing can come of is refused, and told") {
  GateBed bed({"tcp:example.org:443"});
  const Dns refused = bed.answer(bed.query("ads.example"));
  CHECK(refused.rcode == kDnsRefused);
  REQUIRE(bed.ended.size() == 1);
  CHECK(bed.ended[0].question);
  CHECK(bed.ended[0].name == "ads.example");
  CHECK(bed.log.lines.back().find("no rule allows the question for ads.example. The guest is told "
                                  "\"REFUSED\". Try: --allow dns:ads.example.") !=
        std::string::npos);
  CHECK(bed.gateway->names().dns_counters().denied == 1);
  bed.send(Builder()
               .eth(kGuest, kDnsMac)
               .ip("10.0.2.15", "10.0.2.3")
               .udp(4000, 53)
               .payload(bed.query("example.org")));
  CHECK(bed.only().icmp);  // let through: there is no nameserver
}

TEST_CASE("restrict: nothing leaves, forwards work, DHCP tells of no way out") {
  uint16_t port = 0;
  { listener(port); }
  GateBed bed({}, with_hosts({"db=10.0.2.20"}), true);
  bed.config.forwards.push_back(HostForward::parse(fmt::format("tcp:127.0.0.1:{}-:22", port)));
  bed.remake({}, true);
  CHECK(bed.answered_prohibited(syn("192.0.2.1")));
  CHECK(bed.answered_prohibited(syn("10.0.2.2", 22)));
  CHECK(bed.answered_prohibited(to("10.0.2.2").udp(5, 5).payload("x")));
  CHECK(bed.answer(bed.query("example.org")).rcode == kDnsRefused);
  CHECK(bed.answer(bed.query("db.lan")).addresses.size() == 1);

  Dhcp discover;
  discover.client_mac = packets::mac(kGuest).octets;
  bed.send(bed.dhcp(discover));
  const auto offer = parse_dhcp(bed.only().udp->payload);
  REQUIRE(offer);
  CHECK_FALSE(offer->router);
  CHECK_FALSE(offer->dns);
  CHECK(offer->subnet_mask == ip("255.255.255.0"));

  // The forward asks first whether the guest listens, and lets clients in then.
  const Parsed probe = bed.inward_syn();
  const auto inward_flow = [](const Flow& flow) { return flow.inward; };
  CHECK(bed.recent(inward_flow).empty());  // a probe is no flow
  bed.send(
      to("10.0.2.2").tcp(22, probe.tcp->source_port, kTcpSyn | kTcpAck, 1, probe.tcp->seq + 1));
  bed.run_real();
  Fd caller(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const socklen_t size = to_sockaddr(ip("127.0.0.1"), port, address);
  ::connect(caller.get(), reinterpret_cast<sockaddr*>(&address), size);
  const Parsed inward = bed.inward_syn();
  bed.send(
      to("10.0.2.2").tcp(22, inward.tcp->source_port, kTcpSyn | kTcpAck, 500, inward.tcp->seq + 1));
  const auto flows = bed.recent(inward_flow);
  REQUIRE(flows.size() == 1);
  CHECK(flows[0]->state == FlowState::kEstablished);
  CHECK(flows[0]->key.guest_port == 22);
}

TEST_CASE("a flow the policy no longer allows ends on both sides, the others go on") {
  uint16_t port = 0;
  const Fd server = listener(port);
  GateBed bed({});
  bed.send(syn("10.0.2.2", port));
  bed.run_real();
  auto frames = bed.take();
  REQUIRE(frames.size() == 1);
  const Parsed opened = packets::parse_frame(frames[0]);
  REQUIRE(opened.tcp);
  REQUIRE(opened.tcp->flags == (kTcpSyn | kTcpAck));
  const uint32_t seq = opened.tcp->seq + 1;
  bed.send(to("10.0.2.2").tcp(1000, port, kTcpAck | kTcpPsh, 101, seq).payload("abc"));
  bed.run_real();
  const Fd client(::accept4(server.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  REQUIRE(client);
  char text[8];
  CHECK(::recv(client.get(), text, sizeof text, 0) == 3);
  CHECK(bed.state("10.0.2.2") == FlowState::kEstablished);
  bed.take();

  bed.gateway->policy().append(PolicyRule::parse(PolicyRule::Action::kDeny, "any:1"));
  bed.run_real();
  CHECK(bed.take().empty());
  bed.gateway->policy().append(
      PolicyRule::parse(PolicyRule::Action::kDeny, fmt::format("tcp:10.0.2.2:{}", port)));
  bed.run_real();
  frames = bed.take();
  REQUIRE(frames.size() == 1);
  const Parsed reset = packets::parse_frame(frames[0]);
  REQUIRE(reset.tcp);
  CHECK(reset.transport_checksum_valid);
  CHECK(reset.tcp->flags == (kTcpRst | kTcpAck));
  CHECK(reset.tcp->seq == seq);
  CHECK(reset.tcp->ack == 104);
  CHECK(::recv(client.get(), text, sizeof text, 0) == 0);  // the engine has closed its socket
  CHECK(bed.state("10.0.2.2") == FlowState::kDenied);
  CHECK(bed.log.lines.back().find("Connection reset by peer") != std::string::npos);

  // Whatever the guest still sends is reset by the numbers it uses.
  bed.send(to("10.0.2.2").tcp(1000, port, kTcpAck, 104, 7777).payload("x"));
  frames = bed.take();
  REQUIRE_FALSE(frames.empty());
  CHECK(packets::parse_frame(frames[0]).tcp->flags == kTcpRst);
  CHECK(packets::parse_frame(frames[0]).tcp->seq == 7777);
}

TEST_CASE("a policy that changes leaves what has failed before as it was told") {
  GateBed bed({});
  bed.send(to("192.0.2.3").echo_request(7, 1));
  bed.run_real();
  REQUIRE(bed.state("192.0.2.3") == FlowState::kUnreachable);
  const size_t told = bed.log.lines.size();
  bed.gateway->policy().append(PolicyRule::parse(PolicyRule::Action::kDeny, "any"));
  bed.run_real();
  CHECK(bed.state("192.0.2.3") == FlowState::kUnreachable);
  CHECK(bed.log.lines.size() == told);
  bed.send(to("192.0.2.3").echo_request(7, 2));
  bed.run_real();
  CHECK(bed.state("192.0.2.3") == FlowState::kDenied);
}

TEST_CASE("a hop limit that ends here ends the flow, over every protocol") {
  GateBed bed({});
  const auto with_one_hop = [](const char* peer) { return to(peer).ttl(1); };
  bed.send(with_one_hop("192.0.2.4").udp(1000, 33'434).payload("x"));
  bed.send(with_one_hop("192.0.2.5").tcp(1000, 80, kTcpSyn, 100));
  bed.send(with_one_hop("192.0.2.6").echo_request(7, 1));
  bed.send(Builder()
               .eth(kGuest, kGatewayMac6)
               .ip("fec0::15", "2001:db8::4")
               .ttl(1)
               .udp(1000, 33'434)
               .payload("x"));
  for (const char* peer : {"192.0.2.4", "192.0.2.5", "192.0.2.6", "2001:db8::4"}) {
    CAPTURE(peer);
    CHECK(bed.state(peer) == FlowState::kUnreachable);
    const auto flows = bed.to_peer(peer);
    REQUIRE(flows.size() == 1);
    CHECK(flows[0]->cause == Cause::kHopLimit);
  }
}

TEST_CASE("a guest with its share of flows is told so, another one is served") {
  GateBed bed({});
  FlowAccount& flows = bed.gateway->flows();
  const FlowKey key{ip("10.0.2.15"), ip("198.51.100.1"), 0, 9, Protocol::kUdp};
  size_t opened = 0;
  for (FlowKey next = key;; ++next.guest_port) {
    if (next.guest_port == UINT16_MAX) next.peer.octets[3]++;
    if (flows.open({.key = next, .guest_mac = packets::mac(kGuest)}) == nullptr) break;
    ++opened;
  }
  CHECK(opened == (flows.flows_max() * 9 + 12) / 13);
  CHECK(bed.answered_prohibited(syn("192.0.2.1")));
  CHECK(bed.log.lines.back().find("too many flows: the guest, or its port of the switch, has "
                                  "its share of the") != std::string::npos);
  CHECK(bed.ended.back().cause == Cause::kFlowLimit);
  CHECK(bed.dropped(DropReason::kLimit) == 1);
  const char* other = "52:54:00:00:00:02";
  bed.send(Builder().eth(other, kGatewayMac).ip("10.0.2.16", "192.0.2.1").tcp(1, 2, kTcpSyn));
  CHECK(bed.only().icmp->code == 0);  // as ever: no route
  CHECK(bed.answer(bed.query("absent.lan")).rcode == kDnsNameError);
}

TEST_CASE("a rule that never counts is pointed out at the start") {
  GateBed bed({"10.0.0.0/8", "!10.1.0.0/16"});
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(bed.log.lines[0].find("rule 2 (deny 10.1.0.0/16) never counts") == 0);
}
