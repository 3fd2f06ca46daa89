#include "netstack/config/host_forward.h"

#include <doctest/doctest.h>

#include <string>

#include "netstack/base/error.h"
#include "netstack/config/gateway_config.h"
#include "tests/packets/packets.h"

using namespace netstack;

TEST_CASE("forwards: what is written is what is meant, and reads the same again") {
  struct Row {
    const char* text;
    const char* canonical;
  };
  const Row rows[] = {
      {"tcp::2222-:22", "tcp:127.0.0.1:2222-:22"},
      {"tcp:0.0.0.0:2222-10.0.2.16:22", "tcp:0.0.0.0:2222-10.0.2.16:22"},
      {"udp:127.0.0.2:5-:6", "udp:127.0.0.2:5-:6"},
      {"tcp:[::1]:80-:80", "tcp:[::1]:80-:80"},
      {"tcp:[::1]:80-[fec0::15]:80", "tcp:[::1]:80-[fec0::15]:80"},
      {"tcp::80-[::]:80", "tcp:127.0.0.1:80-[::]:80"},
      {"tcp::0-:22", "tcp:127.0.0.1:0-:22"},
      {"tcp::8000-8010-:8000-8010", "tcp:127.0.0.1:8000-8010-:8000-8010"},
      {"tcp::8000-8010-:9000", "tcp:127.0.0.1:8000-8010-:9000-9010"},
      {"tcp::8000-8010-10.0.2.15:9000", "tcp:127.0.0.1:8000-8010-10.0.2.15:9000-9010"},
      {"tcp:[::1]:8000-8001-[fec0::15]:1-2", "tcp:[::1]:8000-8001-[fec0::15]:1-2"},
      {"tcp::7-7-:8", "tcp:127.0.0.1:7-:8"},
      {"unix:/run/my-vm:1/ssh-socket-:22", "unix:/run/my-vm:1/ssh-socket-:22"},
      {"unix:/x-10.0.2.15:22", "unix:/x-10.0.2.15:22"},
      {"unix:/x-[::]:22", "unix:/x-[::]:22"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const HostForward forward = HostForward::parse(row.text);
    CHECK(to_string(forward) == row.canonical);
    CHECK(HostForward::parse(to_string(forward)) == forward);
  }
  const auto range = HostForward::parse("tcp::8000-8010-:9000");
  CHECK(range.port_count == 11);
  CHECK(range.guest_port == 9000);
  CHECK(range.host_address == packets::ip("127.0.0.1"));
}

TEST_CASE("forwards: what is no forward is refused with an example") {
  const std::string long_path = "unix:/" + std::string(107, 'x') + "-:22";
  for (const std::string& bad : std::initializer_list<std::string>{
           "",
           "tcp",
           "tcp:1",
           "tcp::22",
           "icmp::1-:2",
           "tcp::99999-:1",
           "tcp:host:1-:2",
           "tcp::1-:",
           "tcp::1-:0",
           "tcp-:1:2",
           "tcp::1-host:2",
           "tcp:::1:80-:80",
           "tcp:[::1:80-:80",
           "tcp:[127.0.0.1]:80-:80",
           "tcp::1-:2:3",
           "tcp::1-:2 ",
           "tcp::-1-:2",
           "tcp::+1-:2",
           "tcp::8000-7999-:1",
           "tcp::8000-8010-:8000-8009",
           "tcp::8000-8010-:8000-8011",
           "tcp::0-5-:1",
           "tcp::1-2-:65535",
           "tcp::1-:2-3",
           "tcp::1-2-3-:4",
           "unix:-:22",
           "unix:relative-:22",
           "unix:/x",
           "unix:/x-22",
           "unix:/x-:22-23",
           "unix:/x-:0",
           long_path,
       }) {
    CAPTURE(bad);
    try {
      HostForward::parse(bad);
      FAIL("it was taken");
    } catch (const Error& error) {
      CHECK(error.exit_code() == EX_USAGE);
      CHECK(std::string(error.what()).find("tcp:127.0.0.1:2222-:22") != std::string::npos);
    }
  }
}

TEST_CASE("forwards lead into the guests' networks, UDP within one family") {
  GatewayConfig config;
  const auto check_one = [&](const char* text) { config.check_forward(HostForward::parse(text)); };
  for (const char* good : {"tcp::1-:2", "tcp::1-10.0.2.200:2", "tcp::1-[fec0::9]:2",
                           "tcp:[::1]:1-:2", "udp:[::1]:1-[::]:2", "unix:/x-[fec0::9]:2"}) {
    CAPTURE(good);
    CHECK_NOTHROW(check_one(good));
  }
  for (const char* bad : {"tcp::1-10.0.3.1:2", "tcp::1-127.0.0.1:2", "tcp::1-[2001:db8::1]:2",
                          "udp:[::1]:1-:2", "udp::1-[::]:2"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(check_one(bad), Error);
  }
  config.ipv6 = false;
  CHECK_THROWS_AS(check_one("tcp:[::1]:1-[::]:2"), Error);
  CHECK_NOTHROW(check_one("tcp:[::1]:1-:2"));
}
