// The control socket's view of flows and policy, and the forms of the egress
// report.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>

#include "tests/unit/control_bed.h"
#include "tests/unit/gateway_bed.h"
#include "tests/unit/port_fixture.h"
#include "tools/control/egress_report.h"
#include "tools/control/json_pieces.h"

using namespace tests;
using namespace tools;
using nlohmann::json;

namespace {

struct WithGateway {
  Bed bed = make_bed();
};
struct World : WithGateway, ControlBed {
  World() : ControlBed(bed.loop, bed.log, &bed.gateway) {}
  void syn(const char* address, uint16_t port) {
    bed.send(Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", address).tcp(1000, port, kTcpSyn));
    bed.take();
  }
  void udp(const char* address, uint16_t port) {
    bed.send(Builder().eth(kGuest, kGatewayMac).ip("10.0.2.15", address).udp(1000, port));
    bed.take();
  }
};

std::vector<json> of_kind(const std::vector<json>& events, const char* kind) {
  std::vector<json> out;
  for (const json& event : events) {
    if (event["event"] == kind) out.push_back(event);
  }
  return out;
}

}  // namespace

TEST_CASE(
    "rules are added, looked at and taken away; what is denied is an "
    "event and a flow") {
  World world;
  json policy = world.ask("GET", "/policy").json;
  check_members(policy, "Policy");
  CHECK(policy["otherwise"] == "allow");
  world.syn("192.0.2.1", 80);
  CHECK(of_kind(world.take_events(), "flow-ended")[0]["state"] == "unreachable");

  ControlReply reply =
      world.ask("POST", "/policy/rules", {{"action", "deny"}, {"match", "192.0.2.0/24"}});
  CHECK(reply.status == 201);
  check_members(reply.json, "PolicyRule");
  CHECK(reply.json["id"] == 1);
  world.syn("192.0.2.1", 81);
  const auto denied = of_kind(world.take_events(), "flow-denied");
  REQUIRE(denied.size() == 1);
  CHECK(denied[0]["rule"] == "rule 1 (deny 192.0.2.0/24)");
  CHECK(denied[0]["reason"] == "policy-denied");

  reply = world.ask("POST", "/policy/rules",
                    {{"action", "allow"}, {"match", "tcp:any:81"}, {"before", 1}});
  CHECK(reply.json["id"] == 2);
  policy = world.ask("GET", "/policy").json;
  CHECK(policy["rules"][0]["id"] == 2);
  CHECK(policy["otherwise"] == "deny");
  CHECK(world.ask("DELETE", "/policy/rules/1").json["rules"].size() == 1);
  CHECK(world.ask("DELETE", "/policy/rules/1").status == 404);
  CHECK(world.ask("DELETE", "/policy/rules/x").status == 404);
  for (const json& body :
       {json::object(), json{{"action", "allow"}}, json{{"action", "yes"}, {"match", "any"}},
        json{{"action", 1}, {"match", "any"}}}) {
    CHECK(world.ask("POST", "/policy/rules", body).status == 400);
  }
  CHECK(world.ask("POST", "/policy/rules", {{"action", "allow"}, {"match", "a b"}}).status == 409);
  CHECK(world.ask("POST", "/policy/rules", {{"action", "deny"}, {"match", "any"}, {"before", 99}})
            .status == 404);
}

TEST_CASE("PUT replaces all rules or none") {
  World world;
  const json two = {{"rules",
                     {{{"action", "deny"}, {"match", "udp:any"}},
                      {{"action", "deny"}, {"match", "dns:*.example"}}}}};
  json policy = world.ask("PUT", "/policy", two).json;
  CHECK(policy["rules"].size() == 2);
  CHECK(policy["otherwise"] == "allow");
  const json broken = {{"rules", {{{"action", "deny"}, {"match", "udp:any:x"}}}}};
  CHECK(world.ask("PUT", "/policy", broken).status == 409);
  CHECK(world.ask("PUT", "/policy", {{"rules", {1}}}).status == 400);
  CHECK(world.ask("PUT", "/policy", {{"rules", 1}}).status == 400);
  CHECK(world.ask("PUT", "/policy").status == 400);
  CHECK(world.ask("GET", "/policy").json == policy);
  policy = world.ask("PUT", "/policy", {{"rules", json::array()}, {"otherwise", "deny"}}).json;
  CHECK(policy["otherwise"] == "deny");
  CHECK(world
            .ask("PUT", "/policy",
                 {{"rules", {{{"action", "allow"}, {"match", "any:1"}}}}, {"otherwise", "allow"}})
            .status == 400);
  CHECK(world.ask("PUT", "/policy", {{"rules", json::array()}}).json["otherwise"] == "allow");
}

TEST_CASE("flows are listed, the last first, of one guest if wanted") {
  World world;
  for (uint16_t port = 80; port < 90; ++port) world.syn("192.0.2.1", port);
  const json all = world.ask("GET", "/flows").json;
  REQUIRE(all["flows"].size() == 10);
  CHECK(all["opened"] == 10);
  CHECK(all["live"] == 0);
  check_members(all["flows"][0], "Flow");
  CHECK(all["flows"][0]["port"] == 89);
  CHECK(all["flows"][0]["guest"]["mac"] == kGuest);
  CHECK(all["flows"][0]["reason"] == "only-loopback");
  CHECK(world.ask("GET", "/flows", {}, {{"limit", "3"}}).json["flows"].size() == 3);
  CHECK(world.ask("GET", "/flows", {}, {{"guest", kGuest}}).json["flows"].size() == 10);
  CHECK(world.ask("GET", "/flows", {}, {{"guest", "10.0.2.15"}}).json["flows"].size() == 10);
  CHECK(world.ask("GET", "/flows", {}, {{"guest", "10.0.2.16"}}).json["flows"].empty());
  CHECK(world.ask("GET", "/flows", {}, {{"guest", "52:54:00:AB:CD:EF"}}).status == 200);
  for (const char* guest : {"zz", "", "10.0.2", "52:54:00:12:34:5", "52:54:00:12:34:5g"}) {
    const ControlReply reply = world.ask("GET", "/flows", {}, {{"guest", guest}});
    CHECK(reply.status == 400);
    CHECK(reply.json["error"] == fmt::format("cannot GET /flows: guest={} is no MAC or IP address; "
                                             "GET /leases lists the guests'",
                                             guest));
  }
  for (const char* limit : {"x", "-1", "2049", "", "99999999999999999999"}) {
    CHECK(world.ask("GET", "/flows", {}, {{"limit", limit}}).status == 400);
  }
  const std::string metrics = *world.ask("GET", "/metrics").text;
  CHECK(metrics.find("lanyard_flows_ended_total{outcome=\"unreachable\"} 10\n") !=
        std::string::npos);
}

TEST_CASE("egress in pieces is the report, live and ended, also while flows end in between") {
  World world;
  for (uint16_t port = 1000; port < 1200; ++port) world.udp("127.0.0.1", port);
  for (uint16_t port = 80; port < 90; ++port) world.syn("192.0.2.1", port);
  netstack::FlowAccount& account = world.bed.gateway.flows();
  CHECK(world.ask("GET", "/egress").json == egress_json(account.report()));

  ControlReply reply = world.router.answer({.method = "GET", .path = "/egress"});
  std::string text = reply.pieces();
  for (int piece = 0; piece < 20; ++piece) text += reply.pieces();
  account.for_each_live([&](Flow& flow) { account.end(flow, FlowState::kClosed); });
  for (std::string piece = reply.pieces(); !piece.empty(); piece = reply.pieces()) {
    CHECK(piece.size() < 2000);
    text += piece;
  }
  std::map<std::string, int> seen;
  const json places = json::parse(text)["places"];
  for (const json& place : places)
    ++seen[place["place"].get<std::string>() + ":" + place["port"].dump()];
  CHECK(seen.size() == account.report().rows().size());
  for (const auto& [name, count] : seen) CHECK(count == 1);
  for (const json& place : places) CHECK(place["flows"] == 1);
}

TEST_CASE("an answer in pieces is one JSON text, whatever comes and goes in between") {
  const auto text_of = [](ControlReply reply) {
    std::string text;
    for (std::string piece = reply.pieces(); !piece.empty(); piece = reply.pieces()) text += piece;
    return text;
  };
  const auto numbers = [](std::vector<int> all) {
    return items_of(std::move(all), [](int one) { return one < 0 ? json() : json(one); });
  };
  CHECK(text_of(reply_with_array(numbers({}))) == "[]\n");
  CHECK(json::parse(text_of(reply_with_array(numbers({-1, -1})))) == json::array());
  CHECK(text_of(reply_with_array(numbers({-1, -1, -1, 1}))).find("\n\n") == std::string::npos);
  CHECK(json::parse(text_of(reply_with_array(numbers({-1, 1, -1, 2, -1})))) == json({1, 2}));
  CHECK(json::parse(text_of(reply_with_object({}))) == json::object());
  CHECK(json::parse(text_of(reply_with_object({{.name = "a", .items = numbers({})},
                                               {.name = "b", .value = nullptr},
                                               {.name = "c", .items = numbers({-1, 3})}}))) ==
        json::parse(R"({"a": [], "b": null, "c": [3]})"));
}

TEST_CASE("the report as JSON, as a table, and as rules that would have sufficed") {
  EgressBook book;
  const auto add = [&](const char* name, const char* address, Protocol protocol, uint16_t port,
                       FlowState state, std::optional<Cause> cause = {}, const char* rule = "") {
    Flow flow;
    flow.name = name;
    flow.key.peer = packets::ip(address);
    flow.key.protocol = protocol;
    flow.key.peer_port = port;
    flow.state = state;
    flow.cause = cause;
    flow.rule = rule;
    flow.out = {3, 300};
    book.add(flow);
  };
  add("example.org", "192.0.2.1", Protocol::kTcp, 443, FlowState::kClosed);
  add("example.org", "192.0.2.2", Protocol::kTcp, 443, FlowState::kEstablished);
  add("", "2001:db8::1", Protocol::kUdp, 123, FlowState::kTimedOut);
  add("", "192.0.2.9", Protocol::kIcmpEcho, 0, FlowState::kUnreachable, Cause::kNoDefaultRoute);
  add("ads.example", "192.0.2.3", Protocol::kTcp, 80, FlowState::kDenied, Cause::kPolicyDenied,
      "rule 1 (deny *.example)");
  add("odd\\032name", "192.0.2.4", Protocol::kTcp, 80, FlowState::kClosed);
  add("", "192.0.2.5", Protocol::kTcp, 80, FlowState::kDenied, Cause::kFlowLimit);
  book.add_question("example.org", {}, FlowState::kClosed);
  book.add_question("only.example", {}, FlowState::kClosed);
  book.add_question("ads.example", {}, FlowState::kClosed);
  book.add_question("no.example", {}, FlowState::kDenied, Cause::kPolicyDenied, "no rule");

  const json report = egress_json(book);
  CHECK(report["unlisted"] == 0);
  REQUIRE(report["places"].size() == 10);
  for (const json& place : report["places"]) check_members(place, "EgressPlace");
  const auto named = [&](const char* place, const char* protocol) {
    for (const json& each : report["places"]) {
      if (each["place"] == place && each["protocol"] == protocol) return each;
    }
    return json();
  };
  CHECK(named("example.org", "tcp")["flows"] == 2);
  CHECK(named("example.org", "tcp")["bytes_out"] == 600);
  CHECK(named("example.org", "tcp")["outcomes"] == json({{"closed", 1}, {"established", 1}}));
  CHECK(named("example.org", "tcp")["addresses"] == json({"192.0.2.1", "192.0.2.2"}));
  CHECK(named("192.0.2.9", "icmp")["port"] == nullptr);
  CHECK(named("192.0.2.9", "icmp")["reasons"] == json({{"no-default-route", 1}}));

  const std::string table = egress_table(book);
  CHECK(table.find("tcp       example.org   443   2      600        0         "
                   "1 established, 1 "
                   "closed\n") != std::string::npos);
  CHECK(table.find("policy-denied by rule 1 (deny *.example)") != std::string::npos);

  CHECK(learned_rules(book) ==
        "# What guests of a lanyard gateway reached for. For --allow @FILE: "
        "allows this and no "
        "more.\n"
        "tcp:192.0.2.5:80  # 1 denied\n"
        "icmp:192.0.2.9  # 1 unreachable\n"
        "udp:[2001:db8::1]:123  # 1 timed-out\n"
        "dns:ads.example  # 1 closed\n"
        "# denied: tcp:ads.example:80  # 1 denied\n"
        "tcp:example.org:443  # 1 established, 1 closed\n"
        "# denied: dns:no.example  # 1 denied\n"
        "tcp:192.0.2.4:80  # 1 closed\n"
        "dns:only.example  # 1 closed\n");
}

TEST_CASE("what a request says beyond its description is refused, with what is known") {
  World world;
  const auto error = [&](const char* method, const char* path, const json& body,
                         const NamedTexts& query = {}) {
    const ControlReply reply = world.ask(method, path, body, query);
    CHECK(reply.status == 400);
    return reply.json["error"].get<std::string>();
  };
  const json rule = {{"action", "deny"}, {"match", "any"}, {"befor", 1}};
  CHECK(error("POST", "/policy/rules", rule) ==
        "cannot POST /policy/rules: the body takes no \"befor\"; known: action, before, match");
  CHECK(error("PUT", "/policy", {{"rules", {rule}}}) ==
        "cannot PUT /policy: the body takes no \"befor\"; known: action, match");
  CHECK(world.ask("GET", "/policy").json["rules"].empty());
  CHECK(error("PUT", "/ports/1/link", {{"up", false}, {"down", true}}).ends_with("known: up"));
  CHECK(error("DELETE", "/fdb", {{"port", 1}}) ==
        "cannot DELETE /fdb: the body takes no \"port\"; known: none");
  CHECK(error("GET", "/flows", {}, {{"guests", "10.0.2.15"}}) ==
        "cannot GET /flows: it takes no ?guests=; known: guest, limit");
  CHECK(error("GET", "/ports", {}, {{"number", "1"}}).ends_with("known: none"));
}
