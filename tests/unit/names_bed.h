#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "netstack/wire/dhcp.h"
#include "tests/unit/fake_nameserver.h"
#include "tests/unit/gateway_bed.h"
#include "tests/unit/resolv_file.h"

// A gateway whose names, nameservers and clock are the test's.
namespace tests {

using packets::ip;
using packets::Parsed;

inline constexpr auto kEverybody = "ff:ff:ff:ff:ff:ff";

// A gateway on a clock the test moves, in a namespace that holds nothing but "lo".
struct NamesBed {
  explicit NamesBed(const std::string& resolv_conf = "", NamesConfig names = {})
      : resolv(resolv_conf) {
    static const PrivateNetwork once;
    config.names = std::move(names);
    config.resolv_conf = resolv.path;
    gateway.emplace(loop, config, log);
    gateway->attach(guest, 1);
    send(Builder().eth(kGuest, kEverybody).arp_request("10.0.2.15", "10.0.2.2"));
    guest.frames.clear();
  }

  void send(const Builder& builder) {
    const Bytes bytes = builder.build();
    Frame frame;
    iovec body{};
    REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
    gateway->send({&frame, 1});
    run();
  }
  void run() {
    for (int i = 0; i < 12; ++i) loop.tick(0);
  }
  Parsed only() {
    INFO(packets::describe(guest.frames));
    REQUIRE(guest.frames.size() == 1);
    kept = std::move(guest.frames[0]);
    guest.frames.clear();
    return packets::parse_frame(kept);
  }

  std::vector<Bytes> take() { return std::exchange(guest.frames, {}); }

  // Sends a question by UDP and returns the one frame that answers it.
  Parsed ask(const Bytes& query, bool v6 = false) {
    send(Builder()
             .eth(kGuest, v6 ? "52:56:00:00:00:03" : "52:55:0a:00:02:03")
             .ip(v6 ? "fec0::15" : "10.0.2.15", v6 ? "fec0::3" : "10.0.2.3")
             .udp(4000, 53)
             .payload(query));
    return only();
  }
  Dns answer(const Bytes& query, bool v6 = false) {
    const Parsed frame = ask(query, v6);
    REQUIRE(frame.udp);
    CHECK(frame.transport_checksum_valid);
    CHECK(frame.udp->source_port == 53);
    CHECK(frame.udp->destination_port == 4000);
    CHECK(frame.source() == ip(v6 ? "fec0::3" : "10.0.2.3"));
    const auto dns = parse_dns(frame.udp->payload);
    REQUIRE(dns);
    return *dns;
  }
  Builder dhcp(const Dhcp& message, const char* source = "0.0.0.0",
               const char* destination = "255.255.255.255") const {
    return Builder()
        .eth(packets::mac(kGuest),
             destination == std::string("255.255.255.255") ? kBroadcast : packets::mac(kGatewayMac))
        .ip(source, destination)
        .udp(68, 67)
        .payload(make_dhcp(message));
  }
  void lease(const char* name) {
    Dhcp request;
    request.type = DhcpType::kRequest;
    request.client_mac = packets::mac(kGuest).octets;
    request.requested_ip = ip("10.0.2.15");
    request.hostname = name;
    send(dhcp(request));
    CHECK(only().destination() == ip("10.0.2.15"));
  }
  uint64_t dropped(DropReason reason) const { return gateway->counters().dropped(reason); }

  ResolvFile resolv;
  ManualClock clock;
  Loop loop{clock};
  TestLog log;
  GatewayConfig config;
  Collect guest;
  std::optional<Gateway> gateway;
  Bytes kept;
};

inline FakeNameserver::Answers saying(const char* address, AnswerShape shape = {}) {
  return [=](const Bytes& query) { return std::vector<Bytes>{dns_answer(query, address, shape)}; };
}

}  // namespace tests
