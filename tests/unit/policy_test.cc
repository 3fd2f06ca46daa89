#include "netstack/flows/policy.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "netstack/base/error.h"
#include "tests/packets/packets.h"
#include "tests/unit/port_fixture.h"

using namespace netstack;

namespace {

using Action = PolicyRule::Action;

PolicyConfig config_of(const std::vector<std::string>& rules) {
  PolicyConfig config;
  for (const std::string& text : rules) {
    const bool deny = text.starts_with('!');
    config.rules.push_back(PolicyRule::parse(deny ? Action::kDeny : Action::kAllow,
                                             std::string_view(text).substr(deny ? 1 : 0)));
  }
  return config;
}

Target target(Protocol protocol, const char* address, uint16_t port = 0) {
  return {protocol, packets::ip(address), port};
}

std::string refusal(const std::string& text) {
  try {
    PolicyRule::parse(Action::kAllow, text);
  } catch (const Error& error) {
    return error.what();
  }
  return "taken";
}

}  // namespace

TEST_CASE("a rule reads as it is written") {
  for (const std::string text :
       {"any", "10.0.0.0/8", "192.0.2.1", "tcp:example.org:443", "udp:*.example.org", "0.0.0.0/0",
        "any:8000-8099", "icmp:[2001:db8::]/32", "icmp:2001:db8::/32", "tcp:[2001:db8::1]:443",
        "tcp:[2001:db8::]/33:1-65535", "dns:example.org", "dns:any", "example.org:53", "_a-b.c1.x",
        "tcp:any", "::1", "::/0", "udp:tcp:80"}) {
    CAPTURE(text);
    const PolicyRule rule = PolicyRule::parse(Action::kDeny, text);
    CHECK(rule.action == Action::kDeny);
    CHECK(PolicyRule::parse(Action::kDeny, to_string(rule)) == rule);
  }
  CHECK(to_string(PolicyRule::parse(Action::kAllow, "tcp:[2001:db8::/32]:443")) ==
        "tcp:[2001:db8::]/32:443");
  CHECK(to_string(PolicyRule::parse(Action::kAllow, "Example.ORG.")) == "example.org");
  CHECK(described(PolicyRule::parse(Action::kAllow, "icmp:any")) == "allow icmp:any");
}

TEST_CASE("what is no rule is refused with what is wrong") {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"", "the destination is missing"},
      {"tcp:", "the destination is missing"},
      {"10.0.0.1/8", "bits behind the prefix /8 are set"},
      {"10.0.0.0/33", "the prefix is not 0 to 32"},
      {"10.0.0.0/", "the prefix is not 0 to 32"},
      {"10.0.0.0/8x", "the prefix is not 0 to 32"},
      {"[2001:db8::]/129", "the prefix is not 0 to 128"},
      {"[2001:db8::1", "the bracket is not closed"},
      {"[10.0.0.1]:80", "brackets are for IPv6"},
      {"[::1]x", "\"x\" follows the destination"},
      {"example.org/8", "example.org is no address"},
      {"10.0.0.256", "10.0.0.256 is no address"},
      {"10.0.0", "10.0.0 is no address"},
      {"a..b", "the name has an empty part"},
      {"*.", "the name has an empty part"},
      {"a.*.b", "neither an address nor a name"},
      {"a b", "neither an address nor a name"},
      {"tcp:example.org:https", "neither a port nor a range"},
      {"tcp:example.org:0", "neither a port nor a range"},
      {"tcp:example.org:90-80", "neither a port nor a range"},
      {"tcp:example.org:65536", "neither a port nor a range"},
      {"tcp:example.org:80-", "neither a port nor a range"},
      {"tcp:example.org:", "neither a port nor a range"},
      {"icmp:example.org:7", "icmp has no ports"},
      {"dns:example.org:53", "dns has no ports"},
      {"dns:10.0.0.0/8", "questions have a name"},
      {std::string(64, 'a'), "a part of the name is too long"},
      {std::string(300, 'a'), "too long"},
  };
  for (const auto& row : rows) {
    const auto& text = row.first;
    const auto& why = row.second;
    CAPTURE(text);
    CHECK_MESSAGE(refusal(text).find(why) != std::string::npos, refusal(text));
  }
  CHECK(refusal("10.0.0.1/8").find("cannot allow \"10.0.0.1/8\": ") == 0);
}

TEST_CASE("the first rule that fits decides; with any that allows, the rest is denied") {
  const std::vector<std::string> names = {"www.example.org", "example.org"};
  const Target web = target(Protocol::kTcp, "192.0.2.7", 443);
  struct Row {
    std::vector<std::string> rules;
    Target to;
    bool allowed;
  };
  const std::vector<Row> rows = {
      {{}, web, true},
      {{"!10.0.0.0/8"}, web, true},
      {{"10.0.0.0/8"}, web, false},
      {{"192.0.2.0/24"}, web, true},
      {{"!any", "192.0.2.0/24"}, web, false},
      {{"192.0.2.0/24", "!any"}, web, true},
      {{"!192.0.2.7", "192.0.2.0/24"}, web, false},
      {{"tcp:any:443"}, web, true},
      {{"tcp:any:444"}, web, false},
      {{"tcp:any:440-443"}, web, true},
      {{"udp:any"}, web, false},
      {{"any:443"}, web, true},
      {{"any:443"}, target(Protocol::kUdp, "192.0.2.7", 443), true},
      {{"any:443"}, target(Protocol::kIcmpEcho, "192.0.2.7"), false},
      {{"icmp:any"}, target(Protocol::kIcmpEcho, "192.0.2.7"), true},
      {{"icmp:any"}, web, false},
      {{"example.org"}, web, true},
      {{"*.example.org"}, web, true},
      {{"!*.example.org"}, web, false},
      {{"*.org"}, web, true},
      {{"*.le.org"}, web, false},
      {{"ample.org"}, web, false},
      {{"tcp:www.example.org:443", "!any"}, web, true},
      {{"dns:any"}, web, false},
      {{"!dns:any"}, web, true},
      {{"::/0"}, web, false},
      {{"0.0.0.0/0"}, web, true},
      {{"0.0.0.0/0"}, target(Protocol::kTcp, "2001:db8::1", 443), false},
      {{"[2001:db8::]/32"}, target(Protocol::kTcp, "2001:db8::1", 443), true},
      {{"[2001:db8::]/33"}, target(Protocol::kTcp, "2001:db8:8000::1", 443), false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.rules);
    Policy policy(config_of(row.rules));
    CHECK(policy.judge(row.to, names).allowed == row.allowed);
  }
  Policy policy(config_of({"!tcp:any:25", "any"}));
  CHECK(policy.judge(target(Protocol::kTcp, "192.0.2.7", 25), {}).by() ==
        "rule 1 (deny tcp:any:25)");
  CHECK(policy.rules()[0].decided_count == 1);
  CHECK(Policy(config_of({"icmp:any"})).judge(web, {}).by() == "no rule");
}

TEST_CASE("a rule by name needs the name: without one it does not fit") {
  Policy denying(config_of({"!example.org"}));
  CHECK(denying.judge(target(Protocol::kTcp, "192.0.2.7", 443), {}).allowed);
  Policy allowing(config_of({"example.org"}));
  CHECK_FALSE(allowing.judge(target(Protocol::kTcp, "192.0.2.7", 443), {}).allowed);
}

TEST_CASE("a question is refused only when nothing could come of it") {
  struct Row {
    std::vector<std::string> rules;
    bool allowed;
  };
  const std::vector<Row> rows = {
      {{}, true},
      {{"!www.example.org"}, false},
      {{"!*.example.org"}, false},
      {{"!tcp:*.example.org"}, true},   // UDP may still go there
      {{"!www.example.org:80"}, true},  // other ports may
      {{"!10.0.0.0/8"}, true},
      {{"!any"}, false},
      {{"10.0.0.0/8"}, true},  // it may lead there
      {{"tcp:other.org:80"}, false},
      {{"tcp:*.example.org:80"}, true},
      {{"tcp:any:80"}, true},
      {{"10.0.0.0/8", "!dns:any"}, false},  // rules for questions come first
      {{"other.org", "dns:www.example.org"}, true},
      {{"dns:other.org"}, false},
      {{"!dns:*.example.org", "any"}, false},
      {{"!dns:other.org", "any"}, true},
      {{"tcp:www.example.org:1", "!www.example.org"}, true},
      {{"!www.example.org", "tcp:www.example.org:1"}, false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.rules);
    Policy policy(config_of(row.rules));
    CHECK(policy.judge_question("www.example.org").allowed == row.allowed);
  }
}

TEST_CASE("restrict denies everything, whatever the rules say") {
  PolicyConfig config = config_of({"any"});
  config.restricted = true;
  Policy policy(config);
  CHECK_FALSE(policy.is_open());
  CHECK(policy.judge(target(Protocol::kTcp, "192.0.2.7", 443), {}).by() == "--restrict");
  CHECK_FALSE(policy.judge_question("a.example").allowed);
}

TEST_CASE("rules come and go while it runs; an allow list stays one") {
  int changes = 0;
  Policy policy({});
  policy.watch([&] { ++changes; });
  CHECK(policy.is_open());
  const uint32_t first = policy.append(PolicyRule::parse(Action::kAllow, "10.0.0.0/8")).id;
  const uint32_t second = policy.insert(PolicyRule::parse(Action::kDeny, "10.1.0.0/16"), first).id;
  CHECK(policy.rules()[0].id == second);
  CHECK_FALSE(policy.judge(target(Protocol::kUdp, "10.1.2.3", 9), {}).allowed);
  CHECK(policy.judge(target(Protocol::kUdp, "10.2.2.3", 9), {}).allowed);
  CHECK(policy.remove(second));
  CHECK_FALSE(policy.remove(second));
  CHECK(policy.remove(first));
  CHECK_FALSE(policy.is_open());
  CHECK_FALSE(policy.judge(target(Protocol::kUdp, "10.2.2.3", 9), {}).allowed);
  policy.replace({});
  CHECK(policy.is_open());
  CHECK(changes == 5);
  CHECK(policy.append(PolicyRule::parse(Action::kDeny, "any")).id == 3);

  PolicyConfig many;
  many.rules.resize(Policy::kRulesMax);
  policy.replace(many);
  CHECK_THROWS_AS(policy.append(PolicyRule{}), Error);
  many.rules.emplace_back();
  CHECK_THROWS_AS(policy.replace(many), Error);
  CHECK(policy.rules().size() == Policy::kRulesMax);
}

TEST_CASE("a rule behind one that fits all of it is pointed out") {
  CHECK(Policy(config_of({"!10.1.0.0/16", "10.0.0.0/8"})).idle_rules().empty());
  CHECK(Policy(config_of({"10.0.0.0/8", "10.1.0.0/16"})).idle_rules().empty());  // does no harm
  const auto lines = Policy(config_of({"10.0.0.0/8", "!tcp:10.1.0.0/16:80"})).idle_rules();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] ==
        "rule 2 (deny tcp:10.1.0.0/16:80) never counts: rule 1 (allow 10.0.0.0/8) stands in front "
        "of it and fits first; put the narrower rule first");
  CHECK(Policy(config_of({"*.example.org", "!example.org"})).idle_rules().empty());
  CHECK(Policy(config_of({"*.example.org", "!*.a.example.org"})).idle_rules().size() == 1);
  CHECK(Policy(config_of({"tcp:any:80-90", "!tcp:any:80-91"})).idle_rules().empty());
  CHECK(Policy(config_of({"any", "!dns:any"})).idle_rules().empty());
}

TEST_CASE("a file of rules: one a line, with remarks") {
  const TemporaryDirectory folder;
  const std::string path = folder.file("rules");
  std::ofstream(path) << "# what the test needs\n\n  tcp:example.org:443  # the web\r\nany:53\n";
  const auto rules = PolicyRule::parse_file(Action::kAllow, path);
  REQUIRE(rules.size() == 2);
  CHECK(to_string(rules[0]) == "tcp:example.org:443");
  CHECK(to_string(rules[1]) == "any:53");
  std::ofstream(path) << "any\nnonsense:x\n";
  CHECK_THROWS_WITH_AS(PolicyRule::parse_file(Action::kAllow, path),
                       doctest::Contains("line 2: cannot allow \"nonsense:x\""), Error);
  CHECK_THROWS_WITH_AS(PolicyRule::parse_file(Action::kAllow, folder.file("absent")),
                       doctest::Contains("No such file"), Error);
  CHECK_THROWS_AS(PolicyRule::parse_file(Action::kAllow, "/"), Error);
  CHECK_THROWS_AS(PolicyRule::parse_file(Action::kAllow, "/dev/zero"), Error);
}

TEST_CASE("rules come through a pipe, and a FIFO without a writer is no empty file") {
  const TemporaryDirectory folder;
  const std::string path = folder.file("fifo");
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK_THROWS_WITH_AS(PolicyRule::parse_file(Action::kAllow, path),
                       doctest::Contains("nobody writes into this FIFO; start its writer first"),
                       Error);
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  const std::string given = fmt::format("/dev/fd/{}", reading.get());
  SUBCASE("one after the other, from a writer that takes its time") {
    std::thread writer([&] {
      for (const char* line : {"any:53\n", "any:80\n"}) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        CHECK(::write(writing.get(), line, 7) == 7);
      }
      writing.reset();
    });
    CHECK(PolicyRule::parse_file(Action::kAllow, given).size() == 2);
    writer.join();
    CHECK((::fcntl(reading.get(), F_GETFL) & O_NONBLOCK) == 0);
  }
  SUBCASE("from a writer that had none") {
    writing.reset();
    CHECK(PolicyRule::parse_file(Action::kAllow, given).empty());
  }
}
