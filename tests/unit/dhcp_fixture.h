#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string_view>
#include <utility>

#include "netstack/names/dhcp_server.h"
#include "tests/packets/packets.h"
#include "tests/unit/port_fixture.h"

// A DHCP server without a network around it: messages in, messages out, time by hand.
namespace tests {

using namespace netstack;
using packets::ip;

inline const Mac kGuest = packets::mac("52:54:00:00:00:01");
inline const Mac kOther = packets::mac("52:54:00:00:00:02");

inline Mac numbered(uint32_t number) {
  Mac mac = packets::mac("52:54:01:00:00:00");
  write_u16(&mac.octets[4], static_cast<uint16_t>(number));
  mac.octets[3] = static_cast<uint8_t>(number >> 16U);
  return mac;
}

inline Dhcp message(DhcpType type, const Mac& mac = kGuest) {
  Dhcp dhcp;
  dhcp.type = type;
  dhcp.xid = 0x1234;
  dhcp.client_mac = mac.octets;
  return dhcp;
}

inline Dhcp requesting(const Mac& mac, const char* address) {
  Dhcp request = message(DhcpType::kRequest, mac);
  request.requested_ip = ip(address);
  return request;
}

struct Reply {
  Bytes bytes;
  Dhcp dhcp;
  IpAddress destination;
  Mac mac;
};

struct Server {
  explicit Server(GatewayConfig with = {})
      : config(std::move(with)),
        leases(config.network, config.names.leases),
        server(config, leases, log, clock) {}

  std::optional<Reply> ask(const Dhcp& request) {
    const Bytes bytes = make_dhcp(request);
    auto reply = server.answer(bytes, Mac{request.client_mac}, port);
    if (!reply) return std::nullopt;
    Reply out{std::move(reply->message), {}, reply->destination, reply->mac};
    const auto parsed = parse_dhcp(out.bytes);
    REQUIRE(parsed);
    out.dhcp = *parsed;
    CHECK(out.dhcp.from_server);
    CHECK(out.dhcp.xid == request.xid);
    CHECK(out.dhcp.client_mac == request.client_mac);
    return out;
  }
  // DISCOVER and REQUEST; the address, or nothing.
  std::optional<IpAddress> lease(const Mac& mac, std::string_view name = {}) {
    const auto offer = ask(message(DhcpType::kDiscover, mac));
    if (!offer) return std::nullopt;
    Dhcp request = message(DhcpType::kRequest, mac);
    request.requested_ip = offer->dhcp.your_ip;
    request.server_id = offer->dhcp.server_id;
    request.hostname = name;
    const auto ack = ask(request);
    if (!ack || ack->dhcp.type != DhcpType::kAck) return std::nullopt;
    CHECK(ack->dhcp.your_ip == offer->dhcp.your_ip);
    return ack->dhcp.your_ip;
  }

  PortId port = 0;  // of the switch, by which messages come; 0: nobody knows
  ManualClock clock;
  MemoryLog log;
  GatewayConfig config;
  LeaseTable leases;
  DhcpServer server;
};

inline GatewayConfig small_network() {
  GatewayConfig config;
  config.network = GatewayNetwork::parse("192.168.9.0/27");  // .15 to .30: 16 leases
  return config;
}

}  // namespace tests
