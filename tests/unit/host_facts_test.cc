// How facts are read: from text, and from this machine's kernel, to which nothing is sent.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/reachability/judge.h"
#include "netstack/reachability/reachability.h"
#include "netstack/reachability/route_query.h"

using namespace netstack;

namespace {

IpAddress ip(std::string_view text) {
  return *IpAddress::parse(text);
}

// A file that is gone at the end of the test.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view text) {
    const int fd = ::mkstemp(path_.data());
    REQUIRE(fd >= 0);
    REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    ::close(fd);
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/lanyard-reach-XXXXXX";
};

}  // namespace

// --- parsers ------------------------------------------------------------------------------------

TEST_CASE("resolv.conf is read as the C library reads it") {
  const auto servers = [](std::string_view text) {
    std::string out;
    for (const auto& server : parse_resolv_conf(text)) out += to_string(server) + " ";
    return out;
  };
  CHECK(servers("").empty());
  CHECK(servers("\n\n").empty());
  CHECK(servers("nameserver 10.0.0.1\nnameserver\t::1") == "10.0.0.1 ::1 ");
  CHECK(servers("nameserver 10.0.0.1 # home\r\n") == "10.0.0.1 ");
  CHECK(servers("# nameserver 10.0.0.1\n;nameserver 10.0.0.2\n").empty());
  CHECK(servers(" nameserver 10.0.0.1\n").empty());  // a keyword begins its line
  CHECK(servers("nameservers 10.0.0.1\nnameserver10.0.0.1\nnameserver\n").empty());
  CHECK(servers("nameserver example.com\nnameserver 300.1.1.1\nnameserver 10.0.0.3") ==
        "10.0.0.3 ");
  CHECK(servers("nameserver fe80::1%eth0\n") == "fe80::1%eth0 ");
  CHECK(servers("nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4") ==
        "1.0.0.1 1.0.0.2 1.0.0.3 ");
}

TEST_CASE("ping_group_range and gid_map") {
  const auto range = parse_group_range("0\t2147483647\n");
  REQUIRE(range);
  CHECK(range->low == 0);
  CHECK(range->high == 2147483647);
  const auto nobody = parse_group_range("1\t0\n");
  REQUIRE(nobody);
  CHECK(nobody->low > nobody->high);
  for (const char* bad : {"", "1", "a b", "1 -1", "1 99999999999", "1x 2"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_group_range(bad));
  }
  CHECK(maps_every_group("         0          0 4294967295\n"));
  CHECK_FALSE(maps_every_group("         0       1000          1\n"));
  CHECK_FALSE(maps_every_group(""));
}

// --- against this machine's kernel, sending nothing
// -----------------------------------------------

TEST_CASE("rtnetlink: loopback has a route and is a link") {
  RouteQuery query;
  const RouteFact route = query.lookup(ip("127.0.0.1"));
  CHECK(route.known);
  CHECK(route.errno_value == 0);
  CHECK(route.link == "lo");
  std::vector<LinkFact> links;
  REQUIRE(query.links(links));
  const auto lo = std::find_if(links.begin(), links.end(),
                               [](const LinkFact& link) { return link.name == "lo"; });
  REQUIRE(lo != links.end());
  CHECK(lo->loopback);
  CHECK(lo->index == 1);
}

TEST_CASE("reachability reads resolv.conf anew each time") {
  TemporaryFile file("search example.com\n");
  HostSources sources;
  sources.resolv_conf = file.path();
  Reachability reachability(sources);
  CHECK_FALSE(reachability.judge_route(ip("127.0.0.1")).reason);
  CHECK(reachability.judge_route(ip("127.0.0.1")).mtu == 65'536);
  auto reason = reachability.judge_nameservers();
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kNoNameserver);
  CHECK(reason->fact == file.path() + " names no nameserver");
  std::ofstream(file.path()) << "nameserver 127.0.0.1\n";
  CHECK_FALSE(reachability.judge_nameservers());
}

TEST_CASE("no route to any nameserver is the nameserver's cause, told as a closed port") {
  HostFacts facts;
  facts.destination = ip("192.0.2.53");
  facts.route.known = true;
  facts.route.errno_value = EHOSTUNREACH;
  facts.resolver.path = "/etc/resolv.conf";
  const auto reason = judge_nameserver_route(facts, {ip("192.0.2.53"), {}});
  REQUIRE(reason);
  CHECK(reason->cause == Cause::kNameserverUnrouted);
  CHECK(reason->fact.find("192.0.2.53 of /etc/resolv.conf: ") == 0);
  CHECK(cause_row(reason->cause).answer.code4 == 3);
}

TEST_CASE("signs of Nix come from the environment that is handed in") {
  std::map<std::string, const char*> environment;
  HostSources sources;
  sources.environment = [&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second;
  };
  RouteQuery query;
  const auto nix = [&] { return gather_facts(query, sources, ip("127.0.0.1")).nix; };
  CHECK_FALSE(nix().build_top);
  CHECK_FALSE(nix().sandbox_home);
  environment = {{"NIX_STORE", "/nix/store"}, {"HOME", "/root"}};
  CHECK_FALSE(nix().sandbox_home);
  environment["HOME"] = "/homeless-shelter";
  CHECK(nix().sandbox_home);
  environment["NIX_BUILD_TOP"] = "/build";
  environment["NIX_OUTPUT_CHECKED"] = "1";
  CHECK(nix().build_top);
  CHECK(nix().output_checked);
}
