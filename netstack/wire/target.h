#pragma once

#include <cstdint>
#include <string_view>

#include "netstack/wire/ip_address.h"

namespace netstack {

enum class Protocol : uint8_t { kIcmpEcho, kUdp, kTcp, kOther };
std::string_view protocol_name(Protocol protocol);  // "icmp echo", "udp", "tcp", "protocol"

// What a packet is sent to.
struct Target {
  Protocol protocol = Protocol::kIcmpEcho;
  IpAddress address;
  uint16_t port = 0;  // 0 for icmp echo; kOther: the IP protocol's number
};

}  // namespace netstack
