// The doctor's checks of a running LAN, and its picture, from what a control socket would tell.
// With a real one: tests/system/test_doctor_lan.py.
#include <doctest/doctest.h>

#include <string>

#include "tools/doctor/lan_checks.h"
#include "tools/doctor/lan_report.h"

using namespace tools;

namespace {

constexpr const char* kOne = "52:54:00:00:00:01";
constexpr const char* kTwo = "52:54:00:00:00:02";
constexpr const char* kGateway = "52:55:0a:00:02:02";

PortSight port_of(unsigned number, const char* plug) {
  PortSight port;
  port.number = number;
  port.plugs.push_back({plug, "", true, 0});
  return port;
}

// A gateway at port 1 and `guest_count` guests at the ports behind it, with a lease each.
LanSight lan_of(unsigned guest_count) {
  LanSight lan;
  lan.directory = "/lan";
  lan.gateway = GatewaySight{1, "10.0.2.2", "10.0.2.0/24", 1500, kGateway};
  lan.ports.push_back(port_of(1, "gateway"));
  lan.stations.push_back({kGateway, 0, 1, 1, 0, 0, 0});
  lan.leases.emplace();
  lan.guests.emplace();
  lan.forwards.emplace();
  lan.reasons.emplace();
  lan.flows.emplace();
  lan.loop.emplace();
  const std::string macs[] = {kOne, kTwo};
  for (unsigned at = 0; at < guest_count; ++at) {
    const std::string address = "10.0.2." + std::to_string(15 + at);
    lan.ports.push_back(port_of(2 + at, "vde 1"));
    lan.ports.back().ingress_count = 1;
    lan.stations.push_back({macs[at], 0, 2 + at, 1, 0, 0, 0});
    lan.leases->push_back({macs[at], address, "", "bound"});
    lan.claims.push_back({address, macs[at], 1, true, 0, 0, "", 0});
  }
  return lan;
}

std::string text_of(const LanSight& lan) {
  return lan_text(lan, check_lan({lan, lan}), {.colour = false, .utf8 = true});
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("one is one, and two are two") {
  LanSight lan = lan_of(1);
  lan.captures.push_back({1, "/x.pcap", 0, ""});
  lan.loop->episode_count = 1;
  GuestSight guest;
  guest.mac = kOne;
  guest.off_subnet = {1, 3, "192.0.2.1", 0};
  guest.declined = {1, 4, "10.0.2.99", 0};
  guest.tagged_for_gateway = {1, 5, "", 7};
  lan.guests->push_back(guest);
  lan.reasons->push_back({"10.0.2.15", "udp", "192.0.2.1", 53, "no-route", "f", "c", "", 1, 2});
  lan.ports[1].drops = {{"too-long", 1}};
  const std::string one = text_of(lan);
  CAPTURE(one);
  for (const char* part :
       {"2 ports, 1 guest,", "1 guest has a lease", "(1 ARP request,", "(1 time,", "(1 frame,",
        "udp, 1 time,", "1 frame longer than", "1 was found", "1 runs and misses nothing",
        "2 stations stay where they are"}) {
    CHECK_MESSAGE(has(one, part), part);
  }
  const std::string two = text_of(lan_of(2));
  CAPTURE(two);
  for (const char* part : {"3 ports, 2 guests,", "2 guests have a lease", "2 are known, each"}) {
    CHECK_MESSAGE(has(two, part), part);
  }
  LanSight idle = lan_of(1);
  idle.stations.pop_back();
  CHECK(has(text_of(idle), "2 ports, 0 guests,"));
  CHECK(has(text_of(idle), "1 station stays where it is"));
  CHECK(has(text_of(idle), "1 is known, claimed by one guest"));
}

TEST_CASE("where two are at odds, both bear the mark") {
  const auto both_bear = [](const LanSight& lan, const char* mark) {
    const std::string text = text_of(lan);
    CAPTURE(text);
    CHECK(has(text, "✓ port 1"));
    CHECK(has(text, std::string(mark) + " port 2"));
    CHECK(has(text, std::string(mark) + " port 3"));
  };
  SUBCASE("one MAC address") {
    LanSight lan = lan_of(2);
    lan.stations[2] = {kOne, 0, 3, 1, 2, 2, 1};  // it was at port 2
    lan.stations[1] = {kTwo, 0, 2, 1, 0, 0, 0};
    both_bear(lan, "✗");
  }
  SUBCASE("one IP address") {
    LanSight lan = lan_of(2);
    lan.claims.push_back({"10.0.2.30", kTwo, 1, true, 2, 1, kOne, 2});
    both_bear(lan, "✗");
    const auto json = nlohmann::json::parse(lan_json(lan, check_lan({lan, lan})));
    for (const auto& check : json["checks"]) {
      CHECK(check.contains("other_address") == (check["id"] == "ips"));
    }
    CHECK(json["ports"][1]["stations"][0]["mark"] == "problem");
    CHECK(json["ports"][2]["stations"][0]["mark"] == "problem");
  }
  SUBCASE("an address that went over, while the first is still there") {
    LanSight lan = lan_of(2);
    lan.claims.push_back({"10.0.2.30", kTwo, 2, true, 1, 2, kOne, 9});
    for (const char* mac : {kOne, kTwo}) {
      GuestSight guest;
      guest.mac = mac;
      guest.heard_s = 1;
      lan.guests->push_back(guest);
    }
    both_bear(lan, "!");
  }
  SUBCASE("a lease that was declined") {
    LanSight lan = lan_of(2);
    GuestSight guest;
    guest.mac = kOne;
    guest.declined = {2, 1, "10.0.2.30", 0};
    lan.guests->push_back(guest);
    lan.claims.push_back({"10.0.2.30", kTwo, 1, true, 0, 0, "", 0});
    both_bear(lan, "✗");
  }
}

TEST_CASE("of one kind of trouble a few are shown, and all are counted") {
  LanSight lan = lan_of(2);
  const unsigned forged_count = 100;
  for (unsigned at = 0; at < forged_count; ++at) {
    lan.stations.push_back({"forged " + std::to_string(100 + at), 0, 3, 1, 0, 0, 0});
  }
  lan.ports[2].link_up = false;
  const Findings all = check_lan({lan, lan});
  const std::string text = text_of(lan);
  CAPTURE(text);
  CHECK(has(text, "✗ leases          forged 104 on port 3 sends frames"));
  CHECK(has(text, "✗ leases          and 95 more such problems [no-lease]\n"));
  CHECK_FALSE(has(text, "✗ leases          forged 105"));
  CHECK(has(text, "the link of port 3"));
  CHECK(has(text, "\n100 problems, 1 warning.\n"));

  const auto json = nlohmann::json::parse(lan_json(lan, all));
  uint64_t problem_count = 0;
  for (const auto& check : json["checks"]) {
    if (check["mark"] == "problem") problem_count += check.value("more", uint64_t{1});
  }
  CHECK(problem_count == forged_count);
  for (const auto& station : json["ports"][2]["stations"]) {
    const bool forged = station["mac"].get<std::string>().starts_with("forged");
    CHECK(station["mark"] == (forged ? "problem" : "warning"));
  }
  CHECK(json["checks"].size() < 25);
}

TEST_CASE("of many stations at one port, those with a mark are shown first") {
  LanSight lan = lan_of(1);
  lan.guests.reset();
  for (unsigned at = 10; at < 30; ++at) {
    const std::string mac = "52:54:00:00:01:" + std::to_string(at);
    lan.stations.push_back({mac, 0, 2, 1, 0, 0, 0});
    lan.leases->push_back({mac, "10.0.2." + std::to_string(20 + at), "", "bound"});
  }
  lan.stations.back().move_count = 2;
  lan.stations.back().moved_from = 2;
  const std::string some = text_of(lan);
  CAPTURE(some);
  CHECK(has(some, "    ✗ 52:54:00:00:01:29"));
  CHECK(has(some, "    and 13 more\n"));
  CHECK(some.find("✗ 52:54:00:00:01:29") < some.find("✓ " + std::string(kOne)));

  for (StationSight& station : lan.stations) station.move_count = 2;
  CHECK(has(text_of(lan), "    and 13 more, 13 of them marked\n"));
}

// As many as the switch remembers. What is looked for once for each of them, among all of them, was
// minutes.
TEST_CASE("a guest with thousands of faces does not keep the doctor from an answer") {
  constexpr unsigned kFaces_count = 8192;
  LanSight lan = lan_of(2);
  for (unsigned at = 0; at < kFaces_count; ++at) {
    lan.stations.push_back({"forged " + std::to_string(at), 5, 3, 1, 0, 0, 0});
  }
  const Findings all = check_lan({lan, lan});
  const std::string text = lan_text(lan, all, {.colour = false, .utf8 = true});
  CHECK(has(text, "✓ port 2"));
  CHECK(has(text, "! port 3"));
  CHECK(has(text, "! forged 0 "));
  CHECK(has(text, "and 8185 more, 8184 of them marked"));
  CHECK(has(text, "0 problems, 8192 warnings."));
  const auto json = nlohmann::json::parse(lan_json(lan, all));
  CHECK(json["ports"][2]["stations"].size() == kFaces_count + 1);
}

TEST_CASE("plugs are said to be besides a gateway only where there is one") {
  const auto plugs_of = [](const LanSight& lan) { return check_plugs({lan, lan}).front().fact; };
  CHECK(plugs_of(lan_of(0)) == "nobody is plugged in besides the gateway");
  CHECK(plugs_of(lan_of(1)) == "1 plug besides the gateway, and it is alive");
  CHECK(plugs_of(lan_of(2)) == "2 plugs besides the gateway, all alive");
  LanSight bare = lan_of(2);
  bare.ports.erase(bare.ports.begin());
  bare.gateway.reset();
  CHECK(plugs_of(bare) == "2 plugs, all alive");
  bare.ports.clear();
  CHECK(plugs_of(bare) == "nobody is plugged in");
}

TEST_CASE("the gateway's link is down: a problem for all") {
  LanSight lan = lan_of(2);
  lan.ports[1].link_up = false;
  CHECK(check_plugs({lan, lan}).front().mark() == Mark::kWarning);
  lan.ports[0].link_up = false;
  const Findings found = check_plugs({lan, lan});
  REQUIRE(found.size() == 2);
  CHECK(found[0].mark() == Mark::kProblem);
  CHECK(has(found[0].fact, "the link of port 1 (gateway) is set down: no guest gets a lease"));
  CHECK(has(found[0].cure, "link 1 up"));
  CHECK(has(text_of(lan), "✗ port 1"));
}

TEST_CASE("as many as are shown need no line for the others") {
  const Findings five(kShownOfKind_count, problem("a", "a", "it is broken", "mend it"));
  CHECK(shown(five).size() == five.size());
  Findings six = five;
  six.push_back(five.front());
  CHECK(shown(six).back().fact == "and 1 more such problem");
  six.back().cause = "another kind";
  CHECK(shown(six).back().fact == "it is broken");
  const Findings well(20, Finding{"a", "a", "it works"});
  CHECK(shown(well).size() == well.size());
}

TEST_CASE("counters that began anew between two looks have not counted backwards") {
  LanSight before = lan_of(1);
  before.ports[1].drops["runt"] = 5;
  LanSight now = before;
  now.ports[1].drops["runt"] = 7;
  CHECK(has(check_drops({before, now}).front().fact, ", 2 of them between two looks"));
  now.ports[1].drops["runt"] = 3;
  CHECK(has(check_drops({before, now}).front().fact, ", 3 of them between two looks"));
}

TEST_CASE("a forward that the host has no means for is not the guest's fault") {
  LanSight lan = lan_of(1);
  lan.forwards->push_back({"tcp:127.0.0.1:80-:80", "waiting", "accepted", "the port answers"});
  const Finding found = check_forwards(lan).front();
  CHECK(found.mark() == Mark::kProblem);
  CHECK(found.cause.empty());
  CHECK(has(found.cure, "ulimit -n"));
}

TEST_CASE("the nameserver's address is the gateway's, too") {
  LanSight lan = lan_of(2);
  lan.claims.push_back({"10.0.2.3", kTwo, 1, true, 1, 1, kGateway, 1});
  const Findings found = check_ips(lan);
  REQUIRE(found.size() == 1);
  CHECK(found[0].mark() == Mark::kProblem);
  CHECK(has(found[0].fact, ", the gateway"));
}

TEST_CASE("a guest that claims many addresses is named once, with where it is and how many") {
  LanSight lan = lan_of(2);
  const auto claim = [&](unsigned last, double heard_s = 1) {
    lan.claims.push_back({"10.0.2." + std::to_string(last), kOne, heard_s, true, 0, 0, "", 0});
  };
  for (unsigned last = 30; last < 34; ++last) claim(last);
  claim(40, 301);
  lan.claims.push_back({"fec0::7", kOne, 1, false, 0, 0, "", 0});
  CHECK(check_ips(lan).front().ok);  // four beside its lease, as the gateway's DHCP bears
  claim(34);
  Findings found = check_ips(lan);
  REQUIRE(found.size() == 1);
  CHECK(found[0].mark() == Mark::kWarning);
  CHECK(found[0].fact ==
        "52:54:00:00:00:01 (10.0.2.15) on port 2 claims 5 addresses without a lease: 10.0.2.30, "
        "10.0.2.31, 10.0.2.32 and 2 more");
  CHECK(found[0].address == kOne);
  CHECK(has(found[0].cure, "proxy_arp"));

  SUBCASE("one of them is leased to another") {
    lan.leases->at(1).address = "10.0.2.33";
  }
  SUBCASE("one of them is another's by turns") {
    lan.claims[5] = {"10.0.2.33", kTwo, 1, true, 3, 1, kOne, 2};
  }
  found = check_ips(lan);
  REQUIRE(found.size() == 1);
  CHECK(found[0].mark() == Mark::kProblem);
  CHECK(has(found[0].fact, "; 1 of them is another's, such as 10.0.2.33 of 52:54:00:00:00:02"));
  CHECK(found[0].cause == "duplicate-ip");
  CHECK(found[0].other_address == kTwo);
}
